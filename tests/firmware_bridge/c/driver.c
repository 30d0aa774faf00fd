/* Reads a byte stream, says what the receiver makes of it: one line per frame, messages written again. With an argument,
 * the whole receiver listens: repetitions are told apart, and what it answers is printed too. */
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

static er_result take(bool whole, uint8_t byte, er_message *m) {
    static er_decoder decoder;
    static er_receiver receiver;
    static bool begun;
    uint8_t out[ER_MAX_WIRE];
    er_result found;
    if (!whole) {
        return er_decode(&decoder, byte, m);
    }
    if (!begun) {
        er_init(&receiver, 0x77, 3000);
        begun = true;
    }
    found = er_receive(&receiver, byte, 0, m);
    for (size_t n = er_poll(&receiver, 0, out); n > 0; n = er_poll(&receiver, 0, out)) {
        printf("say %u\n", (unsigned)n);
    }
    return found;
}

int main(int argc, char **argv) {
    static const char *const reasons[] = {"", "", "duplicate", "too long", "broken COBS", "too short", "wrong CRC",
                                          "other protocol version", "unknown message type", "wrong length or value"};
    static er_message message;
    int byte;
    (void)argv;
    while ((byte = getchar()) != EOF) {
        er_result found = take(argc > 1, (uint8_t)byte, &message);
        if (found == ER_MESSAGE) {
            print_frame(&message);
        } else if (found != ER_NOTHING) {
            printf("bad %s\n", reasons[found]);
        }
    }
    return 0;
}
