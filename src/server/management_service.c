/* The management API as a part of the server: see management_service.h. */
#include "server/management_service.h"

#include "base/error.h"

bool management_service_is_wanted(const struct settings *s)
{
    return s->management_listen.count > 0 || s->management_tls_listen.count > 0;
}

static beck_status listen_on(struct management_service *m, const struct settings *s,
                             const char *row, const struct texts *addresses, bool tls,
                             struct log *log, beck_error *err)
{
    bool by_default = settings_source(s, row)->origin == ORIGIN_DEFAULT;
    for (size_t i = 0; i < addresses->count; i++) {
        beck_error why;
        beck_status status = listen_tcp(&m->sockets, addresses->at[i], tls, by_default, &why);
        if (status == BECK_EBUSY && by_default) {
            LOG(log, LEVEL_WARN, "the management API is not served there",
                LOG_TEXT("error", why.text));
        } else if (status) {
            return error_set(err, status, "%s (%s; empty: no management API)", why.text, row);
        }
    }
    return BECK_OK;
}

static void describe(struct management_listener *to, const struct listen_socket *from,
                     const char *plain, const char *tls)
{
    *to = (struct management_listener){.protocol = from->tls ? tls : plain, .address = from->text};
}

beck_status management_service_open(struct management_service *m, const struct settings *s, beck *b,
                                    struct access *access, const struct amqp_service *amqp,
                                    struct log *log, beck_error *err)
{
    struct management_listener listeners[2 * LISTEN_ADDRESSES_MAX];
    size_t count = 0;
    beck_status status =
        listen_on(m, s, "management.listen", &s->management_listen, false, log, err);
    if (!status) {
        status =
            listen_on(m, s, "management.tls_listen", &s->management_tls_listen, true, log, err);
    }
    if (status) {
        return status;
    }
    for (size_t i = 0; i < amqp->sockets.count; i++) {
        describe(&listeners[count++], &amqp->sockets.at[i], "amqp", "amqp/ssl");
    }
    for (size_t i = 0; i < m->sockets.count; i++) {
        describe(&listeners[count++], &m->sockets.at[i], "http", "https");
    }
    struct management_context context = {.b = b,
                                         .broker = amqp->broker,
                                         .access = access,
                                         .amqp = amqp->amqp,
                                         .listeners = listeners,
                                         .listener_count = count,
                                         .memory_limit = amqp->memory_limit,
                                         .disk_free_limit = amqp->disk_free_limit,
                                         .rabbitmq_version = s->amqp.version,
                                         .product_version = BECK_VERSION};
    return management_new(&context, &m->management, err);
}

void management_service_add(const struct management_service *m, struct http_listener *listeners,
                            size_t *count)
{
    for (size_t i = 0; i < m->sockets.count; i++) {
        listeners[(*count)++] = (struct http_listener){.fd = m->sockets.at[i].fd,
                                                       .tls = m->sockets.at[i].tls,
                                                       .site = management_site(m->management)};
    }
}

void management_service_close(struct management_service *m)
{
    management_free(m->management);
    m->management = NULL;
    listen_close(&m->sockets);
}
