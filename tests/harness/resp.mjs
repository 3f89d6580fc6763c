// The protocol of Redis, both versions of it.

/** One command as bytes. */
export function encode(parts) {
  const texts = parts.map((part) => Buffer.from(String(part)));
  return Buffer.concat([
    Buffer.from(`*${texts.length}\r\n`),
    ...texts.flatMap((text) => [Buffer.from(`$${text.length}\r\n`), text, Buffer.from("\r\n")]),
  ]);
}

/** `{value, end}` of the value that begins at `start`, or undefined where it has not all arrived. */
export function parse(bytes, start) {
  const line = bytes.indexOf("\r\n", start);
  if (line < 0) return undefined;
  const text = bytes.toString("utf8", start + 1, line);
  const end = line + 2;
  switch (String.fromCharCode(bytes[start])) {
    case "+":
    case ",":
    case "(":
      return { value: text, end };
    case "-":
      return { value: new Error(text), end };
    case ":":
      return { value: Number(text), end };
    case "_":
      return { value: null, end };
    case "#":
      return { value: text === "t", end };
    case "$":
    case "=":
    case "!": {
      const length = Number(text);
      if (length < 0) return { value: null, end };
      if (bytes.length < end + length + 2) return undefined;
      return { value: bytes.toString("utf8", end, end + length), end: end + length + 2 };
    }
    case "*":
    case "~":
    case ">":
      return several(bytes, end, Number(text));
    case "%":
      return several(bytes, end, 2 * Number(text));
    default:
      throw new Error(`not of Redis's protocol: ${bytes.toString("latin1", start, end)}`);
  }
}

// Keys and values of a map come in turn.
function several(bytes, start, count) {
  if (count < 0) return { value: null, end: start };
  const values = [];
  let end = start;
  for (let n = 0; n < count; n += 1) {
    const item = parse(bytes, end);
    if (!item) return undefined;
    values.push(item.value);
    end = item.end;
  }
  return { value: values, end };
}
