/* Feeds COUNT random and mutated frames to the decoder and to a whole receiver. Arguments: COUNT SEED; frames as hex lines
 * on standard input. After each of them a good frame must come through. Prints: frames, accepted although mutated. */
#include <stdio.h>
#include <stdlib.h>

#include "edge_receiver.h"

typedef struct {
    uint8_t bytes[512];
    size_t length;
} frame;

static frame seeds[64];
static size_t seed_count;
static uint64_t state;

static uint32_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static uint32_t below(uint32_t n) { return next_random() % n; }

static void read_seeds(void) {
    char line[1100];
    while (seed_count < 64 && fgets(line, sizeof line, stdin)) {
        unsigned value;
        frame *f = &seeds[seed_count++];
        for (size_t i = 0; sscanf(line + 2 * i, "%2x", &value) == 1; i++) {
            f->bytes[f->length++] = (uint8_t)value;
        }
    }
}

static void garble(frame *f) {
    uint32_t times = 1 + below(4);
    while (times--) {
        uint32_t at = below((uint32_t)f->length);
        switch (below(4)) {
        case 0: f->bytes[at] ^= (uint8_t)(1u << below(8)); break;
        case 1: f->bytes[at] = (uint8_t)next_random(); break;
        case 2: f->length = at + 1; break;
        default: memmove(f->bytes + at, f->bytes + at + 1, f->length - at - 1); f->bytes[f->length - 1] = 0xA5; break;
        }
    }
}

static void make(frame *f) {
    if (below(4) == 0) {
        f->length = 1 + below(300);
        for (size_t i = 0; i < f->length; i++) {
            f->bytes[i] = (uint8_t)next_random();
        }
        return;
    }
    *f = seeds[below((uint32_t)seed_count)];
    garble(f);
}

static bool among_seeds(const er_message *m) {
    uint8_t wire[ER_MAX_WIRE];
    size_t length = er_encode(m, wire);
    for (size_t i = 0; i < seed_count; i++) {
        if (seeds[i].length == length && memcmp(seeds[i].bytes, wire, length) == 0) {
            return true;
        }
    }
    return false;
}

static bool good_frame_passes(er_decoder *d, er_message *m) {
    const frame *f = &seeds[below((uint32_t)seed_count)];
    er_result last = ER_NOTHING;
    er_decode(d, 0, m);
    for (size_t i = 0; i < f->length; i++) {
        last = er_decode(d, f->bytes[i], m);
    }
    return last == ER_MESSAGE && among_seeds(m);
}

static void through_receiver(er_receiver *r, const frame *f, uint32_t now) {
    er_message m;
    uint8_t out[ER_MAX_WIRE];
    for (size_t i = 0; i < f->length; i++) {
        er_receive(r, f->bytes[i], now, &m);
    }
    for (int i = 0; i < 8 && er_poll(r, now, out) > 0; i++) {
    }
    er_output(r, now);
}

int main(int argc, char **argv) {
    static er_decoder decoder;
    static er_receiver receiver;
    static er_message message;
    unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000, wrong = 0;
    state = 88172645463325252ull + (argc > 2 ? strtoul(argv[2], NULL, 10) : 0);
    read_seeds();
    er_init(&receiver, 7, 3000);
    for (unsigned long n = 0; n < count; n++) {
        frame f;
        make(&f);
        for (size_t i = 0; i < f.length; i++) {
            wrong += er_decode(&decoder, f.bytes[i], &message) == ER_MESSAGE && !among_seeds(&message);
        }
        through_receiver(&receiver, &f, (uint32_t)(n * 10u));
        if (!good_frame_passes(&decoder, &message)) {
            printf("frame %lu: not in step at the next delimiter\n", n);
            return 1;
        }
    }
    printf("%lu %lu\n", count, wrong);
    return 0;
}
