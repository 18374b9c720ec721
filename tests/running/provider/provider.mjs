// A real OpenID provider, certified as one, with its own pages for people: any name and password.
//
//   node provider.mjs PORT SERVICE_URL KEY_NAME
import { generateKeyPairSync } from "node:crypto";
import Provider from "oidc-provider";

const [port, service, kid] = process.argv.slice(2);
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "a-service",
      client_secret: "a secret, with % and :",
      redirect_uris: [`${service}/login/callback`],
      post_logout_redirect_uris: [`${service}/`],
    },
  ],
  claims: {
    openid: ["sub", "groups"],
    profile: ["name"],
    email: ["email", "email_verified"],
  },
  cookies: { keys: ["only for tests"] },
  findAccount: (_, name) => ({
    accountId: name,
    claims: () => ({
      sub: name,
      name: `${name} of the provider`,
      email: `${name}@example.com`,
      email_verified: true,
      groups: [name === "eve" ? "guests" : "staff"],
    }),
  }),
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), kid, use: "sig", alg: "RS256" }] },
  pkce: { methods: ["S256"], required: () => true },
});
provider.listen(Number(port), "127.0.0.1");
