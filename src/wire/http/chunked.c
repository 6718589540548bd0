/*
 * Bodies in chunks: see chunked.h. One byte at a time but for the data, as nothing else is long:
 *
 *   *( 1*hex [ ";" anything ] CR LF  data CR LF )
 *   1*"0" [ ";" anything ] CR LF  *( trailer CR LF )  CR LF
 */
#include "wire/http/chunked.h"

#define LINE_MAX 1024
#define TRAILERS_MAX 8192

enum state {
    STATE_FIRST_DIGIT,
    STATE_DIGITS,
    STATE_EXTENSION,
    STATE_LINE_FEED, /* behind the size */
    STATE_DATA,
    STATE_DATA_CR,
    STATE_DATA_LF,
    STATE_TRAILER_START,
    STATE_TRAILER,
    STATE_TRAILER_LF,
    STATE_LAST_LF,
    STATE_END
};

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_text(uint8_t c)
{
    return c == '\t' || (c >= ' ' && c != 0x7f);
}

static enum chunked_result go(struct chunked *c, bool legal, enum state next)
{
    c->state = next;
    return legal ? CHUNKED_MORE : CHUNKED_BAD;
}

static enum chunked_result read_digit(struct chunked *c, uint8_t byte)
{
    int value = hex_value(byte);
    if (value < 0 && c->state == STATE_FIRST_DIGIT)
        return CHUNKED_BAD;
    if (value < 0 && byte == ';')
        return go(c, true, STATE_EXTENSION);
    if (value < 0)
        return go(c, byte == '\r', STATE_LINE_FEED);
    if (c->left >> 60)
        return CHUNKED_TOO_LONG;
    c->left = c->left << 4 | (uint64_t)value;
    return go(c, true, STATE_DIGITS);
}

static enum chunked_result read_byte(struct chunked *c, uint8_t byte)
{
    switch ((enum state)c->state) {
    case STATE_FIRST_DIGIT:
    case STATE_DIGITS:
        return ++c->line > LINE_MAX ? CHUNKED_BAD : read_digit(c, byte);
    case STATE_EXTENSION:
        if (++c->line > LINE_MAX)
            return CHUNKED_BAD;
        return byte == '\r' ? go(c, true, STATE_LINE_FEED) : go(c, is_text(byte), STATE_EXTENSION);
    case STATE_LINE_FEED:
        c->line = 0;
        return go(c, byte == '\n', c->left > 0 ? STATE_DATA : STATE_TRAILER_START);
    case STATE_DATA_CR:
        return go(c, byte == '\r', STATE_DATA_LF);
    case STATE_DATA_LF:
        return go(c, byte == '\n', STATE_FIRST_DIGIT);
    case STATE_TRAILER_START:
    case STATE_TRAILER:
        if (byte == '\r')
            return go(c, true, c->state == STATE_TRAILER ? STATE_TRAILER_LF : STATE_LAST_LF);
        return go(c, is_text(byte) && ++c->line <= TRAILERS_MAX, STATE_TRAILER);
    case STATE_TRAILER_LF:
        return go(c, byte == '\n', STATE_TRAILER_START);
    case STATE_LAST_LF:
        c->state = STATE_END;
        return byte == '\n' ? CHUNKED_END : CHUNKED_BAD;
    case STATE_DATA:
    case STATE_END:
        break;
    }
    return CHUNKED_BAD;
}

static enum chunked_result take_data(struct chunked *c, beck_bytes *input, beck_bytes *data)
{
    size_t len = input->len < c->left ? input->len : (size_t)c->left;
    *data = bytes_of(input->data, len);
    *input = bytes_of((const uint8_t *)input->data + len, input->len - len);
    c->left -= len;
    if (c->left == 0)
        c->state = STATE_DATA_CR;
    return CHUNKED_DATA;
}

enum chunked_result chunked_next(struct chunked *c, beck_bytes *input, beck_bytes *data)
{
    enum chunked_result result = CHUNKED_MORE;
    while (result == CHUNKED_MORE && input->len > 0) {
        if (c->state == STATE_DATA)
            return take_data(c, input, data);
        const uint8_t *at = input->data;
        result = read_byte(c, *at);
        *input = bytes_of(at + 1, input->len - 1);
    }
    return result;
}
