// An MCP client on the TypeScript SDK, driven line by line:
//
//   node client.mjs URL [v1|v2|sse] [NAME]
//
// A client with a name answers what servers ask: forms and links are accepted, samples and roots
// tell the name. "sse" is v1 over the HTTP+SSE of 2024-11-05.
// The first line on stdout is {"ready":true,"session":…} or {"error":…}. Then each line on
// stdin is one of
//
//   {"op":"call","name":…,"arguments":{…}}   {"op":"tools"}      {"op":"ping"}       {"op":"close"}
//   {"op":"calls","n":…,"name":…,"arguments":{…}}   (n at once; the texts)
//   {"op":"prompts"}     {"op":"prompt","name":…,"arguments":{…}}
//   {"op":"resources"}   {"op":"templates"}   {"op":"read","uri":…}
//   {"op":"complete","ref":{…},"argument":{…}}   {"op":"instructions"}
//   {"op":"subscribe","uri":…}   {"op":"unsubscribe","uri":…}   {"op":"level","level":…}
//   {"op":"notes"}   (all notifications so far: [{"method":…,"params":…}, …])
//
// and is answered by one line: {"result":…} or {"error":…,"code":…,"data":…}; what arrived on
// the way is in "progress" and "logs". v1 is @modelcontextprotocol/sdk, v2 is
// @modelcontextprotocol/client, which first asks whether the server speaks a stateless revision.
import { createInterface } from 'node:readline';

const say = (v) => process.stdout.write(JSON.stringify(v) + '\n');
const failure = (e) => ({ error: String(e?.message ?? e), code: Number.isInteger(e?.code) ? e.code : undefined, data: e?.data });

let logs = [];
const notes = [];
const note = (n) => {
  notes.push({ method: n.method, params: n.params });
  if (n.method === 'notifications/message') logs.push(n.params);
};

const [, , address, sdk = 'v1', name] = process.argv;
const capabilities = name
  ? { elicitation: { form: {}, url: {} }, sampling: {}, roots: { listChanged: true } }
  : {};
const answers = {
  'elicitation/create': (r) => ({ action: 'accept', ...(r.params.mode === 'url' ? {} : { content: { name } }) }),
  'sampling/createMessage': () => ({ model: 'm', role: 'assistant', content: { type: 'text', text: `said by ${name}` } }),
  'roots/list': () => ({ roots: [{ uri: `file:///${name}`, name }] }),
};
const told = [
  'notifications/message', 'notifications/resources/updated', 'notifications/tools/list_changed',
  'notifications/prompts/list_changed', 'notifications/resources/list_changed', 'notifications/elicitation/complete',
];

async function v1(url, transport) {
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
  const types = await import('@modelcontextprotocol/sdk/types.js');
  const client = new Client({ name: 'e2e-typescript', version: '1' }, { capabilities });
  client.setNotificationHandler(types.LoggingMessageNotificationSchema, note);
  client.fallbackNotificationHandler = async (n) => note(n);
  if (name) {
    client.setRequestHandler(types.ElicitRequestSchema, answers['elicitation/create']);
    client.setRequestHandler(types.CreateMessageRequestSchema, answers['sampling/createMessage']);
    client.setRequestHandler(types.ListRootsRequestSchema, answers['roots/list']);
  }
  const call = (params, options) => client.callTool(params, undefined, options);
  if (!transport) {
    const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    transport = new StreamableHTTPClientTransport(url);
  }
  return { client, call, transport };
}

async function sse(url) {
  const { SSEClientTransport } = await import('@modelcontextprotocol/sdk/client/sse.js');
  return v1(url, new SSEClientTransport(url));
}

async function v2(url) {
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const client = new Client({ name: 'e2e-typescript-v2', version: '1' }, { capabilities, versionNegotiation: { mode: 'auto' } });
  for (const method of told) client.setNotificationHandler(method, note);
  if (name) for (const [method, answer] of Object.entries(answers)) client.setRequestHandler(method, answer);
  const call = (params, options) => client.callTool(params, options);
  return { client, call, transport: new StreamableHTTPClientTransport(url) };
}

const { client, call, transport } = await { v1, v2, sse }[sdk](new URL(address));

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
  subscribe: ({ uri }) => client.subscribeResource({ uri }),
  unsubscribe: ({ uri }) => client.unsubscribeResource({ uri }),
  level: ({ level }) => client.setLoggingLevel(level),
  notes: async () => notes,
  call: async ({ name, arguments: args = {} }, progress) =>
    call({ name, arguments: args }, { onprogress: (p) => progress.push(p) }),
  calls: async ({ n, name, arguments: args = {} }) =>
    (await Promise.all(Array.from({ length: n }, () => call({ name, arguments: args })))).map((r) => r.content[0].text),
  close: async () => {
    await transport.terminateSession?.();
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
