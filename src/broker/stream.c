#include "broker/delivery.h"
beck_status stream_open(struct broker_queue *q, beck_error *err){(void)q;(void)err;return BECK_OK;}
void stream_end(struct stream *s){(void)s;}
void stream_free(struct stream *s){(void)s;}
uint32_t stream_subscribers(const struct stream *s){(void)s;return 0;}
int stream_subscribe(struct broker_queue *q, const struct subscriber_options *o,
                     struct subscriber **out, char *text){(void)q;(void)o;(void)out;return broker_refuse(text,REPLY_NOT_IMPLEMENTED,"streams");}
void stream_settle(struct subscriber *const *subscribers, size_t count){(void)subscribers;(void)count;}
