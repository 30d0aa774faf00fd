/* The example's board on a Linux tty: argument 1 is its path. Prints what the board does; reads a and t as button and
 * part sensor from standard input, q to end. */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "edge_receiver.h"

void setup(void);
void loop(void);

static int tty;
static bool pressed, part, quit, relay_is_on, relay_was_told;

int board_uart_read(void) {
    uint8_t byte;
    return read(tty, &byte, 1) == 1 ? byte : -1;
}

void board_uart_write(const uint8_t *data, size_t length) {
    if (write(tty, data, length) != (ssize_t)length) {
        printf("write failed\n");
    }
}

uint32_t board_millis(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u);
}

uint32_t board_run_number(void) { return (uint32_t)getpid(); }

void board_relay(bool energised) {
    if (!relay_was_told || energised != relay_is_on) {
        printf("relay %s\n", energised ? "on" : "off");
    }
    relay_was_told = true;
    relay_is_on = energised;
}

static bool once(bool *flag) {
    bool was = *flag;
    *flag = false;
    return was;
}

bool board_button(void) { return once(&pressed); }
bool board_part_sensor(void) { return once(&part); }
void board_part_verdict(uint32_t trigger, bool good) { printf("part %u %s\n", (unsigned)trigger, good ? "good" : "bad"); }

void board_on_alarm(uint32_t event, float score, float limit) {
    printf("alarm %u %.2f %.2f\n", (unsigned)event, (double)score, (double)limit);
}

static void read_keys(void) {
    struct pollfd keys = {0, POLLIN, 0};
    char key;
    if (poll(&keys, 1, 5) > 0) {
        if (read(0, &key, 1) != 1 || key == 'q') {
            quit = true;
        }
        pressed = key == 'a' ? true : pressed;
        part = key == 't' ? true : part;
    }
}

int main(int argc, char **argv) {
    struct termios raw;
    setvbuf(stdout, NULL, _IOLBF, 0);
    tty = argc > 1 ? open(argv[1], O_RDWR | O_NOCTTY | O_NONBLOCK) : -1;
    if (tty < 0 || tcgetattr(tty, &raw) != 0) {
        return 5;
    }
    raw.c_iflag = raw.c_oflag = raw.c_lflag = 0;
    tcsetattr(tty, TCSANOW, &raw);
    setup();
    while (!quit) {
        loop();
        read_keys();
    }
    close(tty);
    return 0;
}
