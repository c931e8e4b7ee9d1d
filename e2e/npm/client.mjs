// An MCP client on the TypeScript SDK v1, driven line by line:
//
//   node client.mjs URL
//
// The first line on stdout is {"ready":true,"session":…} or {"error":…}. Then each line on
// stdin is one of
//
//   {"op":"call","name":…,"arguments":{…}}   {"op":"tools"}   {"op":"ping"}   {"op":"close"}
//
// and is answered by one line: {"result":…} or {"error":…,"code":…,"data":…}; what arrived on
// the way is in "progress" and "logs".
import { createInterface } from 'node:readline';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

const say = (v) => process.stdout.write(JSON.stringify(v) + '\n');
const failure = (e) => ({ error: String(e?.message ?? e), code: e?.code, data: e?.data });

const client = new Client({ name: 'e2e-typescript', version: '1' });
const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]));
let logs = [];
client.setNotificationHandler(LoggingMessageNotificationSchema, (n) => void logs.push(n.params));

const ops = {
  tools: async () => (await client.listTools()).tools.map((t) => t.name),
  ping: () => client.ping(),
  call: async ({ name, arguments: args = {} }, progress) =>
    client.callTool({ name, arguments: args }, undefined, { onprogress: (p) => progress.push(p) }),
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
