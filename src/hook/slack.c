/*
 * Slack. X-Slack-Signature: "v0=" and the HMAC-SHA256 of "v0:<X-Slack-Request-Timestamp>:<body>",
 * hex in lower case. The time stamp may be off by the tolerance. A request of type url_verification
 * is answered with its challenge.
 *
 *   type     com.slack.<event.type> for events, com.slack.command for slash commands, else
 *            com.slack.<type> (block_actions, view_submission ...)
 *   id       event_id; of what a user did: trigger_id
 *   source   https://slack.com/<team>
 *   subject  event.channel, else event.item.channel, else event.user; channel or user of a command
 *   time     event_time
 */
#include "hook/hook_impl.h"

#include "hook/form.h"

#include <stdlib.h>

#define FORM_MAX 65536 /* of a slash command, in which a few short fields are looked for */

static beck_status prepare(struct hook *h, beck_error *err)
{
    return hook_prepare_macs(h, HOOK_SHA256, err);
}

static enum hook_reason verify(const struct hook *h, const struct hook_request *r)
{
    const char *signature, *stamp;
    enum hook_reason reason = request_header(r, "X-Slack-Signature", &signature);
    if (!reason)
        reason = request_header(r, "X-Slack-Request-Timestamp", &stamp);
    if (reason)
        return reason;
    if (!signature[0])
        return HOOK_MISSING_HEADER;
    reason = stamp_check(h, stamp, strlen(stamp), r->now_ns, false, NULL);
    if (reason)
        return reason;
    if (strncmp(signature, "v0=", 3) != 0)
        return HOOK_BAD_SIGNATURE;
    beck_bytes given = beck_str(signature + 3);
    const beck_bytes parts[] = {bytes_of("v0:", 3), beck_str(stamp), bytes_of(":", 1), r->body};
    return signature_matches(h, parts, 4, HOOK_HEX, &given, 1) ? HOOK_FINE : HOOK_BAD_SIGNATURE;
}

enum {
    TYPE,
    CHALLENGE,
    EVENT_ID,
    EVENT_TIME,
    TEAM,
    TEAM_OBJECT,
    APP,
    TRIGGER,
    INNER_TYPE,
    INNER_CHANNEL,
    INNER_CHANNEL_OBJECT,
    ITEM_CHANNEL,
    INNER_USER,
    CHANNEL_OBJECT,
    USER_OBJECT,
    FIELDS
};

static void describe_json(const struct hook *h, struct hook_result *out, const struct field *f)
{
    static const int subjects[] = {INNER_CHANNEL, INNER_CHANNEL_OBJECT, ITEM_CHANNEL,
                                   INNER_USER,    CHANNEL_OBJECT,       USER_OBJECT};
    beck_event *e = &out->event;
    draft_type(h, out, result_text(out, &f[f[INNER_TYPE].found ? INNER_TYPE : TYPE]),
               bytes_of(NULL, 0), "event");
    e->id = result_text(out, &f[f[EVENT_ID].found ? EVENT_ID : TRIGGER]);
    for (size_t i = 0; i < sizeof subjects / sizeof subjects[0] && !e->subject.len; i++)
        e->subject = result_text(out, &f[subjects[i]]);
    e->time_ns = moment_of(result_text(out, &f[EVENT_TIME]));
    beck_bytes team = result_text(out, &f[f[TEAM].found ? TEAM : TEAM_OBJECT]);
    if (!h->settings.source)
        draft_source(out, result_url(out, "https://slack.com", team));
    draft_extension(out, "slackapp", result_text(out, &f[APP]));
}

/* A field of the form, in the result's memory. */
static beck_bytes form_text(struct hook_result *out, const char *name, uint8_t *scratch)
{
    size_t len = 0;
    if (form_field(out->event.data, name, scratch, &len) == 0 || memchr(scratch, 0, len))
        return bytes_of(NULL, 0);
    return attribute_or_none(result_keep(out, "%.*s", (int)len, (const char *)scratch));
}

static enum hook_outcome describe_form(const struct hook *h, struct hook_result *out)
{
    uint8_t *scratch = out->event.data.len <= FORM_MAX ? malloc(FORM_MAX) : NULL;
    draft_type(h, out, bytes_of(NULL, 0), bytes_of(NULL, 0), "command");
    if (scratch) {
        out->event.id = form_text(out, "trigger_id", scratch);
        out->event.subject = form_text(out, "channel_id", scratch);
        beck_bytes team = form_text(out, "team_id", scratch);
        if (!h->settings.source)
            draft_source(out, result_url(out, "https://slack.com", team));
        draft_extension(out, "slackcommand", form_text(out, "command", scratch));
        free(scratch);
    }
    return draft_end(out);
}

static enum hook_outcome receive(const struct hook *h, const struct hook_request *r,
                                 struct hook_result *out)
{
    enum hook_reason reason = verify(h, r);
    if (reason)
        return refuse(out, reason);
    draft_begin(h, r, out);
    /* What users do in dialogs comes as JSON in a form, a slash command as a form. */
    if (request_is(r, "application/x-www-form-urlencoded") &&
        !draft_unwrap_form(out, "payload", false))
        return describe_form(h, out);
    struct field f[FIELDS] = {
        [TYPE] = field_of("type", NULL, NULL),
        [CHALLENGE] = field_of("challenge", NULL, NULL),
        [EVENT_ID] = field_of("event_id", NULL, NULL),
        [EVENT_TIME] = field_of("event_time", NULL, NULL),
        [TEAM] = field_of("team_id", NULL, NULL),
        [TEAM_OBJECT] = field_of("team", "id", NULL),
        [APP] = field_of("api_app_id", NULL, NULL),
        [TRIGGER] = field_of("trigger_id", NULL, NULL),
        [INNER_TYPE] = field_of("event", "type", NULL),
        [INNER_CHANNEL] = field_of("event", "channel", NULL),
        [INNER_CHANNEL_OBJECT] = field_of("event", "channel", "id"),
        [ITEM_CHANNEL] = field_of("event", "item", "channel"),
        [INNER_USER] = field_of("event", "user", NULL),
        [CHANNEL_OBJECT] = field_of("channel", "id", NULL),
        [USER_OBJECT] = field_of("user", "id", NULL),
    };
    fields_find(out->event.data, f, FIELDS);
    if (bytes_equal_text(result_text(out, &f[TYPE]), "url_verification"))
        return answer(out, 200, result_text(out, &f[CHALLENGE]));
    describe_json(h, out, f);
    draft_extension(out, "slackretry", beck_str(request_find(r, "X-Slack-Retry-Num")));
    return draft_end(out);
}

const struct provider provider_slack = {
    .name = "slack",
    .type_prefix = "com.slack",
    .needs_secret = true,
    .prepare = prepare,
    .receive = receive,
};
