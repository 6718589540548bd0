/* Users of a server. */
#include "remote/remote_impl.h"

#include "base/error.h"

static void target_of_user(struct target *t, const char *user, const char *rest)
{
    target_begin(t, "/v1/users/");
    target_segment(t, user);
    target_add(t, rest);
}

beck_status remote_user_list(struct remote *r, int (*each)(void *ctx, const struct api_user *user),
                             void *ctx, beck_error *err)
{
    struct target t;
    struct reply g;
    struct api_users all;
    target_begin(&t, "/v1/users");
    beck_status status = remote_ask(r, "GET", &t, NULL, NULL, &shape_users, &all, &g, err);
    for (size_t i = 0; !status && i < all.count; i++)
        if (each(ctx, &all.list[i]))
            break;
    reply_release(&g);
    return status;
}

beck_status remote_user_put(struct remote *r, const char *name, const struct api_user_spec *spec,
                            beck_error *err)
{
    struct target t;
    target_of_user(&t, name, "");
    return remote_do(r, "PUT", &t, &shape_user_spec, spec, err);
}

beck_status remote_user_delete(struct remote *r, const char *name, beck_error *err)
{
    struct target t;
    target_of_user(&t, name, "");
    return remote_do(r, "DELETE", &t, NULL, NULL, err);
}

beck_status remote_token_make(struct remote *r, const char *user, const char *token_name, char *out,
                              size_t size, beck_error *err)
{
    struct target t;
    struct reply g;
    struct api_token made;
    const struct api_token_spec spec = {token_name};
    target_of_user(&t, user, "/tokens");
    beck_status status =
        remote_ask(r, "POST", &t, &shape_token_spec, &spec, &shape_token, &made, &g, err);
    if (!status && strlen(made.token) + 1 != size)
        status = error_set(err, BECK_EIO, "the server made a token of another length");
    if (!status)
        memcpy(out, made.token, size);
    reply_release(&g);
    return status;
}

beck_status remote_token_revoke(struct remote *r, const char *user, const char *token_name,
                                beck_error *err)
{
    struct target t;
    target_of_user(&t, user, "/tokens/");
    target_segment(&t, token_name);
    return remote_do(r, "DELETE", &t, NULL, NULL, err);
}
