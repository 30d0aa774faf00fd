/* Reads a byte stream, says what the receiver's decoder makes of it: one line per frame, messages written again. */
#include <stdio.h>

#include "edge_receiver.h"

static void print_frame(const er_message *m) {
    uint8_t wire[ER_MAX_WIRE];
    size_t length = er_encode(m, wire);
    printf("ok ");
    for (size_t i = 0; i < length; i++) {
        printf("%02x", wire[i]);
    }
    printf("\n");
}

int main(void) {
    static const char *const reasons[] = {"", "", "duplicate", "too long", "broken COBS", "too short", "wrong CRC",
                                          "other protocol version", "unknown message type", "wrong length or value"};
    static er_decoder decoder;
    static er_message message;
    int byte;
    while ((byte = getchar()) != EOF) {
        er_result found = er_decode(&decoder, (uint8_t)byte, &message);
        if (found == ER_MESSAGE) {
            print_frame(&message);
        } else if (found != ER_NOTHING) {
            printf("bad %s\n", reasons[found]);
        }
    }
    return 0;
}
