/* A microcontroller that drives an alarm relay from the edge-anomaly wire. Give the board_ functions for your board.
 *
 * The relay is energised only while the station says OK and keeps saying so. A reset, a hung program (use the
 * microcontroller's own watchdog), a cut wire and a lost station all drop it. The relay's pin needs a pull-down, so
 * that it is off before this program runs.
 */
#include "edge_receiver.h"

int board_uart_read(void);                                     /* the next byte, or -1 when there is none */
void board_uart_write(const uint8_t *data, size_t length);     /* all of it */
uint32_t board_millis(void);                                   /* since reset; may wrap */
uint32_t board_run_number(void);                               /* another one after each reset */
void board_relay(bool energised);                              /* the alarm output */
bool board_button(void);                                       /* true once per press: the operator acknowledges */
bool board_part_sensor(void);                                  /* true once per part: judge it now */
void board_part_verdict(uint32_t trigger, bool good);          /* the answer for that part */
void board_on_alarm(uint32_t event, float score, float limit); /* one call per defect */

void setup(void);
void loop(void);

static er_receiver receiver;
static uint32_t newest_alarm, newest_part;

void setup(void) {
    board_relay(false);
    er_init(&receiver, board_run_number(), 3000);
}

static void speak(void) {
    uint8_t out[ER_MAX_WIRE];
    size_t length;
    while ((length = er_poll(&receiver, board_millis(), out)) > 0) {
        board_uart_write(out, length);
    }
}

static void act_on(const er_message *m) {
    if (m->type == ER_ALARM_RAISED) {
        newest_alarm = m->as.alarm.event;
        board_on_alarm(m->as.alarm.event, m->as.alarm.score, m->as.alarm.threshold);
    } else if (m->type == ER_TRIGGER_RESULT) {
        board_part_verdict(m->as.result.trigger, m->as.result.verdict == ER_OK);
    }
}

void loop(void) {
    er_message message;
    int byte;
    while ((byte = board_uart_read()) >= 0) {
        if (er_receive(&receiver, (uint8_t)byte, board_millis(), &message) == ER_MESSAGE) {
            act_on(&message);
        }
        speak();
    }
    if (board_button()) {
        er_acknowledge(&receiver, newest_alarm);
    }
    if (board_part_sensor() && er_trigger(&receiver, newest_part + 1)) {
        newest_part++;
    }
    speak();
    board_relay(er_output(&receiver, board_millis()));
}
