/*
 * GitHub. X-Hub-Signature-256: "sha256=" and the HMAC-SHA256 of the body, hex in lower case. The
 * older X-Hub-Signature (SHA-1) is not looked at. With content type form the signature covers the
 * form, and the JSON is its field "payload".
 *
 *   type     com.github.<X-GitHub-Event>.<action>, without the action where there is none
 *   id       X-GitHub-Delivery
 *   source   repository.html_url, else https://github.com/<organization.login>
 *   subject  repository.full_name, else organization.login, else sender.login
 */
#include "hook/hook_impl.h"

static beck_status prepare(struct hook *h, beck_error *err)
{
    return hook_prepare_macs(h, HOOK_SHA256, err);
}

static void describe(const struct hook *h, const struct hook_request *r, struct hook_result *out)
{
    enum { ACTION, FULL_NAME, URL, ORGANIZATION, SENDER, FIELDS };
    struct field f[FIELDS] = {
        [ACTION] = field_of("action", NULL, NULL),
        [FULL_NAME] = field_of("repository", "full_name", NULL),
        [URL] = field_of("repository", "html_url", NULL),
        [ORGANIZATION] = field_of("organization", "login", NULL),
        [SENDER] = field_of("sender", "login", NULL),
    };
    fields_find(out->event.data, f, FIELDS);
    beck_bytes event = attribute_of(request_find(r, "X-GitHub-Event"));
    draft_type(h, out, event, event.len ? result_text(out, &f[ACTION]) : event, "event");
    beck_event *e = &out->event;
    e->id = attribute_of(request_find(r, "X-GitHub-Delivery"));
    beck_bytes organization = result_text(out, &f[ORGANIZATION]);
    e->subject = result_text(out, &f[FULL_NAME]);
    if (!e->subject.len)
        e->subject = organization.len ? organization : result_text(out, &f[SENDER]);
    if (h->settings.source)
        return;
    beck_bytes url = result_text(out, &f[URL]);
    draft_source(out, url.len ? url : result_url(out, "https://github.com", organization));
}

static enum hook_outcome receive(const struct hook *h, const struct hook_request *r,
                                 struct hook_result *out)
{
    const char *header;
    enum hook_reason reason = request_header(r, "X-Hub-Signature-256", &header);
    if (reason || !header[0])
        return refuse(out, reason ? reason : HOOK_MISSING_HEADER);
    if (strncmp(header, "sha256=", 7) != 0)
        return refuse(out, HOOK_BAD_SIGNATURE);
    beck_bytes given = beck_str(header + 7);
    if (!signature_matches(h, &r->body, 1, HOOK_HEX, &given, 1))
        return refuse(out, HOOK_BAD_SIGNATURE);
    draft_begin(h, r, out);
    if (request_is(r, "application/x-www-form-urlencoded"))
        draft_unwrap_form(out, "payload", false);
    describe(h, r, out);
    draft_extension(out, "githubhookid", beck_str(request_find(r, "X-GitHub-Hook-ID")));
    draft_extension(out, "githubtarget",
                    beck_str(request_find(r, "X-GitHub-Hook-Installation-Target-Type")));
    draft_extension(out, "githubtargetid",
                    beck_str(request_find(r, "X-GitHub-Hook-Installation-Target-ID")));
    return draft_end(out);
}

const struct provider provider_github = {
    .name = "github",
    .type_prefix = "com.github",
    .body_max = 25 << 20, /* GitHub's own limit */
    .needs_secret = true,
    .prepare = prepare,
    .receive = receive,
};
