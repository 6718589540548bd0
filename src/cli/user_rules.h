/* Rules as people write them: "bus:orders.*=publish,read", "queue:*=work", "server=admin". */
#ifndef BECK_CLI_USER_RULES_H
#define BECK_CLI_USER_RULES_H

#include "access/access.h"
#include "cli/command.h"

/* Memory of `count` rules, to be freed with user_rules_free; NULL after a report. */
struct access_rule *user_rules_read(const struct call *call, const char *const *texts,
                                    size_t count);
void user_rules_free(struct access_rule *rules, size_t count);
/* What user_rules_read reads. */
beck_status user_rule_text(const struct access_rule *rule, struct buf *out);
/* The words of the rights, each in `quote`, with commas. */
beck_status user_rights_text(uint32_t rights, const char *quote, struct buf *out);

#endif
