/* What the handlers of documents share: bodies and answers by shapes, and events as text. */
#ifndef BECK_WIRE_HTTP_DOCUMENT_H
#define BECK_WIRE_HTTP_DOCUMENT_H

#include "event/api_shape.h"
#include "wire/http/http.h"

/* Bytes of one answer made of many documents; what would be more is refused, or left to the next
 * page. */
#define DOCUMENT_ANSWER_MAX (64u << 20)

/* Reads the body; an empty one is {}. False, after answering why: 415 for another content type than
 * JSON, else what the document lacks. */
bool document_read(struct http_request *r, const struct shape *s, void *out);
void document_answer(struct http_request *r, int status, const struct shape *s, const void *object);

/* An answer {"name":[ ... ]} that is put together item by item; document_list_answer sends it, or
 * says what failed. */
struct document_list {
    struct buf out;
    size_t count;
    beck_status status; /* the first failure */
    beck_error err;
};
void document_list_init(struct document_list *l, const char *name);
void document_list_add(struct document_list *l, const struct shape *s, const void *item);
void document_list_answer(struct document_list *l, struct http_request *r);
/* With a number behind the list. */
void document_list_answer_with(struct document_list *l, struct http_request *r, const char *name,
                               int64_t number);

/* Whether the caller has any right there: what lists show. */
bool document_may_see(const struct http_request *r, enum access_kind kind, const char *name);

#endif
