/* The receiver's end of the edge-anomaly wire: one C99 header, no allocation, nothing but string.h.
 *
 * docs/protocol.md defines the wire; docs/receiver.md shows how to use this file. In short:
 *
 *     static er_receiver receiver;
 *     er_init(&receiver, run_number, 3000);
 *     for (;;) {
 *         while ((c = uart_read()) >= 0) {
 *             if (er_receive(&receiver, (uint8_t)c, millis(), &message) == ER_MESSAGE) { ... }
 *             while ((n = er_poll(&receiver, millis(), out)) > 0) uart_write(out, n);
 *         }
 *         while ((n = er_poll(&receiver, millis(), out)) > 0) uart_write(out, n);
 *         relay(er_output(&receiver, millis()));
 *     }
 *
 * Memory: about 450 bytes, and 64 for a message. Time is milliseconds in 32 bits and may wrap. Not safe to call from two contexts at once.
 */
#ifndef EDGE_RECEIVER_H
#define EDGE_RECEIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ER_VERSION 1u
#define ER_MAX_WIRE 255u /* one frame with its delimiter */
#define ER_MAX_RAW 253u  /* header, payload and CRC */
#define ER_HEADER 8u
#define ER_NAME 24u
#define ER_WINDOW 32u
#define ER_RETRY_MS 150u
#define ER_QUICK_TRIES 3u
#define ER_SLOWEST_RETRY_MS 5000u

enum {
    ER_HELLO = 0x01,
    ER_ACK = 0x02,
    ER_NAK = 0x03,
    ER_STATION_STATE = 0x10,
    ER_ALARM_RAISED = 0x11,
    ER_ALARM_CLEARED = 0x12,
    ER_TRIGGER_RESULT = 0x13,
    ER_ACKNOWLEDGE = 0x20,
    ER_SHELVE = 0x21,
    ER_TRIGGER = 0x22,
    ER_RESET = 0x23
};
enum { ER_STARTING = 0, ER_OK = 1, ER_ALARM = 2, ER_FAULT = 3 };
enum { ER_ACTIVE = 1, ER_ACKED = 2, ER_LATCHED = 4, ER_SHELVED = 8, ER_SUPPRESSED = 16, ER_OUT_OF_SERVICE = 32 };
enum { ER_NAK_VERSION = 1, ER_NAK_UNKNOWN_TYPE = 2, ER_NAK_MALFORMED = 3, ER_NAK_BUSY = 4 };

/* What a byte brought. All but ER_MESSAGE need no action of the caller. */
typedef enum {
    ER_NOTHING,
    ER_MESSAGE,
    ER_DUPLICATE,
    ER_BAD_TOO_LONG,
    ER_BAD_COBS,
    ER_BAD_SHORT,
    ER_BAD_CRC,
    ER_BAD_VERSION,
    ER_BAD_TYPE,
    ER_BAD_MALFORMED
} er_result;

typedef char er_float_must_have_32_bits[sizeof(float) == 4 ? 1 : -1];

/* A message with its header. `as` holds the member that belongs to `type`; a score that is not a number: no score. */
typedef struct {
    uint8_t version, type;
    uint32_t session;
    uint16_t sequence;
    union {
        struct {
            uint8_t role, min_version, max_version;
            uint16_t heartbeat_ms;
            char name[ER_NAME + 1];
        } hello;
        struct {
            uint32_t session;
            uint8_t type;
            uint16_t sequence;
            uint8_t reason; /* Nak only */
        } ack;
        struct {
            uint8_t verdict, flags;
            uint16_t fault;
            float score, threshold;
            uint32_t frame;
            uint64_t uptime_ms;
            uint32_t event, alarms, faults, dropped_frames, unsent;
        } state;
        struct {
            uint32_t event;
            float score, threshold;
            uint32_t frame, age_ms;
        } alarm;
        struct {
            uint32_t event;
            uint8_t reason;
            uint32_t frame;
        } cleared;
        struct {
            uint32_t trigger;
            uint8_t verdict;
            uint16_t fault;
            float score, threshold;
            uint32_t frame, latency_ms;
        } result;
        uint32_t event;   /* Acknowledge */
        uint16_t seconds; /* Shelve */
        uint32_t trigger; /* Trigger */
    } as;
} er_message;

typedef struct {
    uint8_t buffer[ER_MAX_WIRE - 1];
    uint16_t length;
    bool overrun;
} er_decoder;

typedef struct {
    er_decoder decoder;
    uint32_t session;
    uint16_t word, next_command;
    /* what was heard of the station */
    bool knows_station, has_state;
    uint32_t station_run, heard;
    uint16_t newest;
    bool heard_any;
    uint32_t state_at_ms, watchdog_ms;
    er_message state;
    /* what is to be said */
    uint8_t reply[32], command[32];
    uint8_t reply_length, command_length, command_tries;
    uint16_t command_number;
    uint32_t command_at_ms, command_pause_ms;
    bool say_hello;
} er_receiver;

/* ---- bytes ---------------------------------------------------------------------------------------------------- */

/* CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF; "123456789" gives 0x29B1. */
static inline uint16_t er_crc16(const uint8_t *data, size_t length) {
    uint16_t crc = 0xFFFFu;
    for (size_t i = 0; i < length; i++) {
        crc = (uint16_t)(crc ^ ((uint16_t)data[i] << 8));
        for (int bit = 0; bit < 8; bit++) {
            crc = (uint16_t)((crc & 0x8000u) ? ((unsigned)crc << 1) ^ 0x1021u : (unsigned)crc << 1);
        }
    }
    return crc;
}

static inline uint8_t *er_put(uint8_t *at, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) {
        *at++ = (uint8_t)(value >> (8u * i));
    }
    return at;
}

static inline uint64_t er_get(const uint8_t **at, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t) * (*at)++ << (8u * i);
    }
    return value;
}

static inline uint8_t *er_put_float(uint8_t *at, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return er_put(at, value != value ? 0x7FC00000u : bits, 4);
}

static inline float er_get_float(const uint8_t **at) {
    uint32_t bits = (uint32_t)er_get(at, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Length of the payload of `type`, or -1 for a type that version 1 does not have. */
static inline int er_payload_length(uint8_t type) {
    switch (type) {
    case ER_HELLO: return 5 + (int)ER_NAME;
    case ER_ACK: return 7;
    case ER_NAK: return 8;
    case ER_STATION_STATE: return 44;
    case ER_ALARM_RAISED: return 20;
    case ER_ALARM_CLEARED: return 9;
    case ER_TRIGGER_RESULT: return 23;
    case ER_ACKNOWLEDGE: return 4;
    case ER_SHELVE: return 2;
    case ER_TRIGGER: return 4;
    case ER_RESET: return 0;
    default: return -1;
    }
}

/* COBS in place of `length` bytes; returns the decoded length, or -1 when the block is broken. */
static inline int er_cobs_decode(uint8_t *data, size_t length) {
    size_t from = 0, to = 0;
    while (from < length) {
        uint8_t code = data[from++];
        if (code == 0 || from + code - 1u > length) {
            return -1;
        }
        for (uint8_t i = 1; i < code; i++) {
            if (data[from] == 0) {
                return -1;
            }
            data[to++] = data[from++];
        }
        if (code != 0xFFu && from < length) {
            data[to++] = 0;
        }
    }
    return (int)to;
}

/* COBS of at most ER_MAX_RAW bytes with the delimiter; returns the length on the wire. */
static inline size_t er_cobs_encode(const uint8_t *raw, size_t length, uint8_t *wire) {
    size_t code_at = 0, to = 1;
    for (size_t i = 0; i < length; i++) {
        if (raw[i] == 0) {
            wire[code_at] = (uint8_t)(to - code_at);
            code_at = to++;
        } else {
            wire[to++] = raw[i];
        }
    }
    wire[code_at] = (uint8_t)(to - code_at);
    wire[to++] = 0;
    return to;
}

/* ---- messages ------------------------------------------------------------------------------------------------- */

static inline bool er_read_state(const uint8_t *p, er_message *m) {
    m->as.state.verdict = (uint8_t)er_get(&p, 1);
    m->as.state.flags = (uint8_t)er_get(&p, 1);
    m->as.state.fault = (uint16_t)er_get(&p, 2);
    m->as.state.score = er_get_float(&p);
    m->as.state.threshold = er_get_float(&p);
    m->as.state.frame = (uint32_t)er_get(&p, 4);
    m->as.state.uptime_ms = er_get(&p, 8);
    m->as.state.event = (uint32_t)er_get(&p, 4);
    m->as.state.alarms = (uint32_t)er_get(&p, 4);
    m->as.state.faults = (uint32_t)er_get(&p, 4);
    m->as.state.dropped_frames = (uint32_t)er_get(&p, 4);
    m->as.state.unsent = (uint32_t)er_get(&p, 4);
    return m->as.state.verdict <= ER_FAULT;
}

static inline bool er_read_result(const uint8_t *p, er_message *m) {
    m->as.result.trigger = (uint32_t)er_get(&p, 4);
    m->as.result.verdict = (uint8_t)er_get(&p, 1);
    m->as.result.fault = (uint16_t)er_get(&p, 2);
    m->as.result.score = er_get_float(&p);
    m->as.result.threshold = er_get_float(&p);
    m->as.result.frame = (uint32_t)er_get(&p, 4);
    m->as.result.latency_ms = (uint32_t)er_get(&p, 4);
    return m->as.result.verdict <= ER_FAULT;
}

static inline bool er_read_hello(const uint8_t *p, er_message *m) {
    m->as.hello.role = (uint8_t)er_get(&p, 1);
    m->as.hello.min_version = (uint8_t)er_get(&p, 1);
    m->as.hello.max_version = (uint8_t)er_get(&p, 1);
    m->as.hello.heartbeat_ms = (uint16_t)er_get(&p, 2);
    memcpy(m->as.hello.name, p, ER_NAME);
    m->as.hello.name[ER_NAME] = 0;
    return m->as.hello.role <= 1;
}

static inline bool er_read_ack(const uint8_t *p, er_message *m) {
    m->as.ack.session = (uint32_t)er_get(&p, 4);
    m->as.ack.type = (uint8_t)er_get(&p, 1);
    m->as.ack.sequence = (uint16_t)er_get(&p, 2);
    m->as.ack.reason = m->type == ER_NAK ? (uint8_t)er_get(&p, 1) : 0;
    return m->type == ER_ACK || (m->as.ack.reason >= ER_NAK_VERSION && m->as.ack.reason <= ER_NAK_BUSY);
}

/* Fills `m->as` from a payload of the right length; false when a value is not one of its type. */
static inline bool er_read(const uint8_t *p, er_message *m) {
    switch (m->type) {
    case ER_HELLO: return er_read_hello(p, m);
    case ER_ACK:
    case ER_NAK: return er_read_ack(p, m);
    case ER_STATION_STATE: return er_read_state(p, m);
    case ER_ALARM_RAISED:
        m->as.alarm.event = (uint32_t)er_get(&p, 4);
        m->as.alarm.score = er_get_float(&p);
        m->as.alarm.threshold = er_get_float(&p);
        m->as.alarm.frame = (uint32_t)er_get(&p, 4);
        m->as.alarm.age_ms = (uint32_t)er_get(&p, 4);
        return true;
    case ER_ALARM_CLEARED:
        m->as.cleared.event = (uint32_t)er_get(&p, 4);
        m->as.cleared.reason = (uint8_t)er_get(&p, 1);
        m->as.cleared.frame = (uint32_t)er_get(&p, 4);
        return m->as.cleared.reason <= 3;
    case ER_TRIGGER_RESULT: return er_read_result(p, m);
    case ER_ACKNOWLEDGE: m->as.event = (uint32_t)er_get(&p, 4); return true;
    case ER_SHELVE: m->as.seconds = (uint16_t)er_get(&p, 2); return true;
    case ER_TRIGGER: m->as.trigger = (uint32_t)er_get(&p, 4); return true;
    default: return true; /* Reset has no payload */
    }
}

static inline uint8_t *er_write_state(uint8_t *p, const er_message *m) {
    p = er_put(p, m->as.state.verdict, 1);
    p = er_put(p, m->as.state.flags, 1);
    p = er_put(p, m->as.state.fault, 2);
    p = er_put_float(p, m->as.state.score);
    p = er_put_float(p, m->as.state.threshold);
    p = er_put(p, m->as.state.frame, 4);
    p = er_put(p, m->as.state.uptime_ms, 8);
    p = er_put(p, m->as.state.event, 4);
    p = er_put(p, m->as.state.alarms, 4);
    p = er_put(p, m->as.state.faults, 4);
    p = er_put(p, m->as.state.dropped_frames, 4);
    return er_put(p, m->as.state.unsent, 4);
}

static inline uint8_t *er_write_result(uint8_t *p, const er_message *m) {
    p = er_put(p, m->as.result.trigger, 4);
    p = er_put(p, m->as.result.verdict, 1);
    p = er_put(p, m->as.result.fault, 2);
    p = er_put_float(p, m->as.result.score);
    p = er_put_float(p, m->as.result.threshold);
    p = er_put(p, m->as.result.frame, 4);
    return er_put(p, m->as.result.latency_ms, 4);
}

static inline uint8_t *er_write_hello(uint8_t *p, const er_message *m) {
    p = er_put(p, m->as.hello.role, 1);
    p = er_put(p, m->as.hello.min_version, 1);
    p = er_put(p, m->as.hello.max_version, 1);
    p = er_put(p, m->as.hello.heartbeat_ms, 2);
    memset(p, 0, ER_NAME);
    memcpy(p, m->as.hello.name, strlen(m->as.hello.name));
    return p + ER_NAME;
}

static inline uint8_t *er_write_alarm(uint8_t *p, const er_message *m) {
    p = er_put(p, m->as.alarm.event, 4);
    p = er_put_float(p, m->as.alarm.score);
    p = er_put_float(p, m->as.alarm.threshold);
    p = er_put(p, m->as.alarm.frame, 4);
    return er_put(p, m->as.alarm.age_ms, 4);
}

static inline uint8_t *er_write_ack(uint8_t *p, const er_message *m) {
    p = er_put(p, m->as.ack.session, 4);
    p = er_put(p, m->as.ack.type, 1);
    p = er_put(p, m->as.ack.sequence, 2);
    return m->type == ER_NAK ? er_put(p, m->as.ack.reason, 1) : p;
}

static inline uint8_t *er_write(uint8_t *p, const er_message *m) {
    switch (m->type) {
    case ER_HELLO: return er_write_hello(p, m);
    case ER_ACK:
    case ER_NAK: return er_write_ack(p, m);
    case ER_STATION_STATE: return er_write_state(p, m);
    case ER_ALARM_RAISED: return er_write_alarm(p, m);
    case ER_ALARM_CLEARED:
        p = er_put(p, m->as.cleared.event, 4);
        p = er_put(p, m->as.cleared.reason, 1);
        return er_put(p, m->as.cleared.frame, 4);
    case ER_TRIGGER_RESULT: return er_write_result(p, m);
    case ER_ACKNOWLEDGE: return er_put(p, m->as.event, 4);
    case ER_SHELVE: return er_put(p, m->as.seconds, 2);
    case ER_TRIGGER: return er_put(p, m->as.trigger, 4);
    default: return p;
    }
}

/* One frame ready for the UART. `wire` has room for ER_MAX_WIRE bytes; returns how many are used. */
static inline size_t er_encode(const er_message *m, uint8_t *wire) {
    uint8_t raw[ER_MAX_RAW];
    uint8_t *p = er_put(raw, ER_VERSION, 1);
    p = er_put(p, m->type, 1);
    p = er_put(p, m->session, 4);
    p = er_put(p, m->sequence, 2);
    p = er_write(p, m);
    p = er_put(p, er_crc16(raw, (size_t)(p - raw)), 2);
    return er_cobs_encode(raw, (size_t)(p - raw), wire);
}

/* The message in `length` bytes of header, payload and CRC. */
static inline er_result er_open(const uint8_t *raw, size_t length, er_message *m) {
    const uint8_t *p = raw, *check;
    if (length < ER_HEADER + 2u) {
        return ER_BAD_SHORT;
    }
    check = raw + length - 2u;
    if (er_crc16(raw, length - 2u) != (uint16_t)er_get(&check, 2)) {
        return ER_BAD_CRC;
    }
    m->version = (uint8_t)er_get(&p, 1);
    m->type = (uint8_t)er_get(&p, 1);
    m->session = (uint32_t)er_get(&p, 4);
    m->sequence = (uint16_t)er_get(&p, 2);
    if (m->version != ER_VERSION) {
        return ER_BAD_VERSION;
    }
    if (er_payload_length(m->type) < 0) {
        return ER_BAD_TYPE;
    }
    if ((size_t)er_payload_length(m->type) != length - ER_HEADER - 2u) {
        return ER_BAD_MALFORMED;
    }
    return er_read(p, m) ? ER_MESSAGE : ER_BAD_MALFORMED;
}

static inline er_result er_end_of_frame(er_decoder *d, er_message *m) {
    size_t length = d->length;
    bool overrun = d->overrun;
    int raw;
    d->length = 0;
    d->overrun = false;
    if (overrun) {
        return ER_BAD_TOO_LONG;
    }
    if (length == 0) {
        return ER_NOTHING;
    }
    raw = er_cobs_decode(d->buffer, length);
    return raw < 0 ? ER_BAD_COBS : er_open(d->buffer, (size_t)raw, m);
}

/* One byte of the stream. ER_MESSAGE: `m` is whole and checked. After noise it is in step at the next zero byte. */
static inline er_result er_decode(er_decoder *d, uint8_t byte, er_message *m) {
    if (byte == 0) {
        return er_end_of_frame(d, m);
    }
    if (d->length == sizeof d->buffer) {
        d->overrun = true;
    } else {
        d->buffer[d->length++] = byte;
    }
    return ER_NOTHING;
}

/* ---- conversation --------------------------------------------------------------------------------------------- */

/* `run`: another number after each reset (a boot counter in EEPROM, or noise of an open ADC pin).
 * `watchdog_ms`: no state for so long trips the output; three heartbeats are usual (3000). */
static inline void er_init(er_receiver *r, uint32_t run, uint32_t watchdog_ms) {
    memset(r, 0, sizeof *r);
    r->session = run << 8;
    r->watchdog_ms = watchdog_ms;
    r->say_hello = true;
}

/* True: energise the relay. The last state says OK and is younger than the watchdog; all else is false. */
static inline bool er_output(er_receiver *r, uint32_t now_ms) {
    if (r->has_state && now_ms - r->state_at_ms > r->watchdog_ms) {
        r->has_state = false; /* latched until the next state, so that a wrapping clock cannot bring it back */
    }
    return r->has_state && r->state.as.state.verdict == ER_OK;
}

static inline bool er_is_reliable(uint8_t type) { return type >= ER_ALARM_RAISED; }

/* True when this number of the station was not heard before; remembers it. Numbers wrap at 65536. */
static inline bool er_is_new(er_receiver *r, uint16_t sequence) {
    uint16_t ahead = (uint16_t)(sequence - r->newest), back = (uint16_t)(r->newest - sequence);
    if (!r->heard_any || (ahead >= 0x8000u && back >= ER_WINDOW)) {
        r->heard_any = true;
        r->newest = sequence;
        r->heard = 1;
        return true;
    }
    if (ahead != 0 && ahead < 0x8000u) {
        r->heard = ahead >= ER_WINDOW ? 1u : (r->heard << ahead) | 1u;
        r->newest = sequence;
        return true;
    }
    if (r->heard >> back & 1u) {
        return false;
    }
    r->heard |= (uint32_t)1 << back;
    return true;
}

static inline void er_reply(er_receiver *r, const er_message *to, uint8_t nak_reason) {
    er_message answer;
    uint8_t wire[ER_MAX_WIRE];
    memset(&answer, 0, sizeof answer);
    answer.type = nak_reason ? ER_NAK : ER_ACK;
    answer.session = r->session;
    answer.sequence = ++r->word;
    answer.as.ack.session = to->session;
    answer.as.ack.type = to->type;
    answer.as.ack.sequence = to->sequence;
    answer.as.ack.reason = nak_reason;
    r->reply_length = (uint8_t)er_encode(&answer, wire);
    memcpy(r->reply, wire, r->reply_length);
}

static inline void er_answered(er_receiver *r, const er_message *m) {
    bool ours = m->as.ack.session >> 8 == r->session >> 8 && er_is_reliable(m->as.ack.type);
    bool for_good = m->type == ER_ACK || m->as.ack.reason != ER_NAK_BUSY;
    if (ours && for_good && r->command_length && m->as.ack.sequence == r->command_number) {
        r->command_length = 0;
    }
}

static inline er_result er_taken(er_receiver *r, uint32_t now_ms, const er_message *m) {
    if (!r->knows_station || m->session >> 8 != r->station_run) {
        r->knows_station = true;
        r->station_run = m->session >> 8;
        r->heard_any = false;
    }
    r->say_hello = false;
    if (m->type == ER_ACK || m->type == ER_NAK) {
        er_answered(r, m);
        return ER_NOTHING;
    }
    er_reply(r, m, 0);
    if (m->type == ER_STATION_STATE) {
        r->state = *m;
        r->state_at_ms = now_ms;
        r->has_state = true;
    }
    return er_is_reliable(m->type) && !er_is_new(r, m->sequence) ? ER_DUPLICATE : ER_MESSAGE;
}

/* One byte from the UART. ER_MESSAGE: act on `m`, which comes once however often it was sent. The answer to the
 * station waits in er_poll: call it after every byte that brought something. */
static inline er_result er_receive(er_receiver *r, uint8_t byte, uint32_t now_ms, er_message *m) {
    er_result found = er_decode(&r->decoder, byte, m);
    bool echo = found >= ER_BAD_VERSION || found == ER_MESSAGE ? m->session >> 8 == r->session >> 8 : false;
    if (echo) {
        return ER_NOTHING; /* our own words, from an adapter that hears itself */
    }
    if (found == ER_MESSAGE) {
        return er_taken(r, now_ms, m);
    }
    if (found >= ER_BAD_VERSION && m->type != ER_ACK && m->type != ER_NAK) {
        er_reply(r, m, (uint8_t)(found - ER_BAD_VERSION + ER_NAK_VERSION));
    }
    return found;
}

static inline size_t er_hello(er_receiver *r, uint8_t *out) {
    er_message hello;
    memset(&hello, 0, sizeof hello);
    hello.type = ER_HELLO;
    hello.session = r->session;
    hello.sequence = ++r->word;
    hello.as.hello.role = 1;
    hello.as.hello.min_version = hello.as.hello.max_version = ER_VERSION;
    r->say_hello = false;
    return er_encode(&hello, out);
}

/* The next frame to write, or 0. `out` has room for ER_MAX_WIRE bytes. Call until it gives 0. */
static inline size_t er_poll(er_receiver *r, uint32_t now_ms, uint8_t *out) {
    size_t length = r->reply_length;
    if (length) {
        memcpy(out, r->reply, length);
        r->reply_length = 0;
        return length;
    }
    if (r->say_hello) {
        return er_hello(r, out);
    }
    if (!r->command_length || (r->command_tries && now_ms - r->command_at_ms < r->command_pause_ms)) {
        return 0;
    }
    if (r->command_tries < 255u) {
        r->command_tries++;
    }
    r->command_pause_ms = r->command_tries <= ER_QUICK_TRIES ? ER_RETRY_MS : 2u * r->command_pause_ms;
    if (r->command_pause_ms > ER_SLOWEST_RETRY_MS) {
        r->command_pause_ms = ER_SLOWEST_RETRY_MS;
    }
    r->command_at_ms = now_ms;
    memcpy(out, r->command, r->command_length);
    return r->command_length;
}

/* Commands are said until the station acknowledges them, one at a time. False: the last one still waits. */
static inline bool er_command(er_receiver *r, er_message *m) {
    uint8_t wire[ER_MAX_WIRE];
    if (r->command_length) {
        return false;
    }
    m->session = r->session;
    m->sequence = r->command_number = r->next_command++;
    r->command_length = (uint8_t)er_encode(m, wire);
    r->command_tries = 0;
    memcpy(r->command, wire, r->command_length);
    return true;
}

static inline bool er_send(er_receiver *r, uint8_t type, uint32_t value) {
    er_message m;
    memset(&m, 0, sizeof m);
    m.type = type;
    if (type == ER_SHELVE) {
        m.as.seconds = (uint16_t)value;
    } else {
        m.as.event = value; /* Acknowledge and Trigger have one number, Reset none */
    }
    return er_command(r, &m);
}

/* The operator has seen alarm `event` (0: all). */
static inline bool er_acknowledge(er_receiver *r, uint32_t event) { return er_send(r, ER_ACKNOWLEDGE, event); }
/* The operator silences the alarm for `seconds` (0: ends it). */
static inline bool er_shelve(er_receiver *r, uint16_t seconds) { return er_send(r, ER_SHELVE, seconds); }
/* A part is in front of the camera; the answer is TriggerResult with the same number. */
static inline bool er_trigger(er_receiver *r, uint32_t trigger) { return er_send(r, ER_TRIGGER, trigger); }
/* The operator releases a latched alarm. */
static inline bool er_reset(er_receiver *r) { return er_send(r, ER_RESET, 0); }

#endif
