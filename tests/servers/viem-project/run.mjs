// What viem (https://viem.sh) makes of things, for tests. The command is the first argument; input is JSON on stdin, output JSON.
import { readFileSync } from "node:fs";
import { formatUnits, getAddress } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { createSiweMessage, parseSiweMessage, validateSiweMessage } from "viem/siwe";

const input = JSON.parse(readFileSync(0, "utf8"));

const commands = {
  // {key} -> {address}
  address: ({ key }) => ({ address: privateKeyToAccount(key).address }),

  // {key, message} -> {signature}
  sign: async ({ key, message }) => ({ signature: await privateKeyToAccount(key).signMessage({ message }) }),

  // The fields of a message -> the text that viem's own builder makes of them, and whether it takes that text for valid.
  siwe: ({ issuedAt, expirationTime, ...fields }) => {
    const message = createSiweMessage({ ...fields, issuedAt: new Date(issuedAt), expirationTime: new Date(expirationTime) });
    return { message };
  },

  // {message, domain, nonce, time} -> what viem reads, and whether it takes it for valid.
  parse: ({ message, domain, nonce, time }) => {
    const fields = parseSiweMessage(message);
    const isValid = validateSiweMessage({ address: fields.address, domain, message: fields, nonce, time: new Date(time) });
    return { fields, isValid };
  },

  // Asks a score API as Snapshot's strategy `api-v2` of type `api-post` does (its documented form): each address must come back
  // exactly as it was sent, and scores are integers in the smallest unit.
  scores: async ({ options, network, snapshot, addresses }) => {
    const isPost = options.type === "api-post";
    const query = `?network=${network}&snapshot=${snapshot}&addresses=${addresses.join(",")}`;
    const response = await fetch(isPost || options.type === "json" ? options.url : options.url + query, {
      method: isPost ? "POST" : "GET",
      headers: { Accept: "application/json", "Content-Type": "application/json", "X-Snapshot-API-Strategy-Secret": "0" },
      body: isPost ? JSON.stringify({ options, network, snapshot, addresses }) : undefined,
    });
    const { score } = await response.json();
    if (!score) throw new Error(`no scores: ${response.status}`);
    const found = new Map(score.map((one) => [one.address, one.score]));
    return Object.fromEntries(addresses.map((address) => [
      getAddress(address),
      Number.parseFloat(formatUnits(BigInt(found.get(address) ?? "0"), options.decimals ?? 0)),
    ]));
  },
};

const result = await commands[process.argv[2]](input);
console.log(JSON.stringify(result));
