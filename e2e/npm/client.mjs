// An MCP client on the TypeScript SDK, driven line by line:
//
//   node client.mjs URL [v1|v2]
//
// The first line on stdout is {"ready":true,"session":…} or {"error":…}. Then each line on
// stdin is one of
//
//   {"op":"call","name":…,"arguments":{…}}   {"op":"tools"}      {"op":"ping"}       {"op":"close"}
//   {"op":"calls","n":…,"name":…,"arguments":{…}}   (n at once; the texts)
//   {"op":"prompts"}     {"op":"prompt","name":…,"arguments":{…}}
//   {"op":"resources"}   {"op":"templates"}   {"op":"read","uri":…}
//   {"op":"complete","ref":{…},"argument":{…}}   {"op":"instructions"}
//
// and is answered by one line: {"result":…} or {"error":…,"code":…,"data":…}; what arrived on
// the way is in "progress" and "logs". v1 is @modelcontextprotocol/sdk, v2 is
// @modelcontextprotocol/client, which first asks whether the server speaks a stateless revision.
import { createInterface } from 'node:readline';

const say = (v) => process.stdout.write(JSON.stringify(v) + '\n');
const failure = (e) => ({ error: String(e?.message ?? e), code: Number.isInteger(e?.code) ? e.code : undefined, data: e?.data });

let logs = [];
const onLog = (n) => void logs.push(n.params);

async function v1(url) {
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
  const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const { LoggingMessageNotificationSchema } = await import('@modelcontextprotocol/sdk/types.js');
  const client = new Client({ name: 'e2e-typescript', version: '1' });
  client.setNotificationHandler(LoggingMessageNotificationSchema, onLog);
  const call = (params, options) => client.callTool(params, undefined, options);
  return { client, call, transport: new StreamableHTTPClientTransport(url) };
}

async function v2(url) {
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const client = new Client({ name: 'e2e-typescript-v2', version: '1' }, { versionNegotiation: { mode: 'auto' } });
  client.setNotificationHandler('notifications/message', onLog);
  const call = (params, options) => client.callTool(params, options);
  return { client, call, transport: new StreamableHTTPClientTransport(url) };
}

const { client, call, transport } = await { v1, v2 }[process.argv[3] ?? 'v1'](new URL(process.argv[2]));

const ops = {
  tools: async () => (await client.listTools()).tools.map((t) => t.name),
  prompts: async () => (await client.listPrompts()).prompts.map((p) => p.name),
  resources: async () => (await client.listResources()).resources.map((r) => r.uri),
  templates: async () => (await client.listResourceTemplates()).resourceTemplates.map((t) => t.uriTemplate),
  prompt: ({ name, arguments: args }) => client.getPrompt({ name, arguments: args }),
  read: ({ uri }) => client.readResource({ uri }),
  complete: ({ ref, argument }) => client.complete({ ref, argument }),
  instructions: async () => client.getInstructions() ?? '',
  ping: () => client.ping(),
  call: async ({ name, arguments: args = {} }, progress) =>
    call({ name, arguments: args }, { onprogress: (p) => progress.push(p) }),
  calls: async ({ n, name, arguments: args = {} }) =>
    (await Promise.all(Array.from({ length: n }, () => call({ name, arguments: args })))).map((r) => r.content[0].text),
  close: async () => {
    await transport.terminateSession();
    await client.close();
  },
};

try {
  await client.connect(transport);
} catch (e) {
  say(failure(e));
  process.exit(1);
}
say({ ready: true, session: transport.sessionId });

for await (const line of createInterface({ input: process.stdin })) {
  const op = JSON.parse(line);
  const progress = [];
  logs = [];
  try {
    const result = await ops[op.op](op, progress);
    say({ result: result ?? {}, progress, logs });
  } catch (e) {
    say(failure(e));
  }
  if (op.op === 'close') process.exit(0);
}
