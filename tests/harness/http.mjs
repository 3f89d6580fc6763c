// HTTP without a connection pool, so that a killed gateway leaves no stale connection.

import http from "node:http";

/**
 * Sends one request and resolves with `{status, headers, text, body}`; `body` is
 * the parsed JSON, or undefined where the answer is none.
 */
export function request(url, { method = "GET", headers = {}, body } = {}) {
  const text = body === undefined || typeof body === "string" || Buffer.isBuffer(body)
    ? body
    : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const outgoing = http.request(url, { method, agent: false, timeout: 15_000 }, (incoming) => {
      const chunks = [];
      incoming.on("data", (chunk) => chunks.push(chunk));
      incoming.once("error", (error) => reject(new Error(`${method} ${url}: ${error.message}`)));
      incoming.once("end", () => {
        const answer = Buffer.concat(chunks).toString("utf8");
        resolve({
          status: incoming.statusCode,
          headers: incoming.headers,
          text: answer,
          body: parsed(answer),
        });
      });
    });
    outgoing.once("error", reject);
    outgoing.once("timeout", () => outgoing.destroy(new Error(`${method} ${url}: no answer`)));
    if (text !== undefined) {
      outgoing.setHeader("content-type", "application/json");
      outgoing.setHeader("content-length", Buffer.byteLength(text));
    }
    for (const [name, value] of Object.entries(headers)) outgoing.setHeader(name, value);
    outgoing.end(text);
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
