// Requests as the providers' own libraries make them, one a line: {"hook","headers","body"}. The argument is the directory of
// tools/fetch_signers.sh.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(process.argv[2] + "/"));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const say = (hook, headers, body) => console.log(JSON.stringify({ hook, headers, body }));
const json = { "content-type": "application/json" };
const texts = ["{}", '{"name":"Zürich 🚀","esc":"\\u00fc"}', '{ "a" : 1,\n  "b" : [ 1, 2 ]  }\n', "x".repeat(100000)];

// GitHub's package has no entry for require().
const { sign } = await import(pathToFileURL(process.argv[2] + "/node_modules/@octokit/webhooks-methods/dist-node/index.js").href);
for (const [i, body] of texts.entries()) {
    const headers = { ...json, "x-github-event": "push", "x-github-delivery": `g${i}` };
    say("github", { ...headers, "x-hub-signature-256": await sign("It's a Secret", body) }, body);
}

const { default: Stripe } = await load("stripe");
const stripe = new Stripe("sk_test_x");
for (const payload of texts)
    say("stripe", { ...json, "stripe-signature": stripe.webhooks.generateTestHeaderString({ payload, secret: "whsec_secret" }) }, payload);

const { Webhook } = await load("standardwebhooks");
const webhook = new Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
for (const [i, body] of texts.entries()) {
    const now = new Date();
    const headers = { "webhook-id": `s${i}`, "webhook-timestamp": `${Math.floor(now / 1000)}` };
    say("standard", { ...json, ...headers, "webhook-signature": webhook.sign(`s${i}`, now, body) }, body);
}

const { CloudEvent, HTTP } = await load("cloudevents");
const event = new CloudEvent({ id: "c1", source: "/orders", type: "a.b", region: "eu", datacontenttype: "application/json", data: { x: 1 } });
for (const { headers, body } of [HTTP.binary(event), HTTP.structured(event.cloneWith({ id: "c2" }))])
    say("cloudevents", { ...headers, authorization: "Bearer t0ken" }, body);
