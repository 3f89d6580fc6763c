import { describe, expect, test } from "vitest";

import type { WireElement } from "../protocol/payloads";
import { judge, safeLink, sendable } from "./element";

function element(type: string, more: Record<string, unknown> = {}): WireElement {
  return { id: "e", type, version: 3, versionNonce: 7, ...more };
}

/** The shown copy of an element that can be shown. */
function shown(one: WireElement): WireElement {
  const judged = judge(one);
  if (!judged || "fault" in judged) throw new Error(`not shown: ${judged?.fault}`);
  return judged.shown;
}

const fault = (one: WireElement) => {
  const judged = judge(one);
  return judged && "fault" in judged ? judged.fault : undefined;
};

/** As Excalidraw 0.18 makes them. */
const OWN = {
  x: 1, y: 2, width: 30, height: 40, angle: 0, strokeColor: "#1e1e1e", backgroundColor: "transparent", fillStyle: "solid",
  strokeStyle: "solid", strokeWidth: 2, roughness: 1, opacity: 100, seed: 9, groupIds: [], frameId: null, index: "a1",
  roundness: { type: 3 }, isDeleted: false, boundElements: null, updated: 5, link: null, locked: false,
};

describe("showing", () => {
  test.each([
    element("rectangle", OWN),
    element("freedraw", { ...OWN, points: [[0, 0], [1, 1]], pressures: [], simulatePressure: true, lastCommittedPoint: [1, 1] }),
    element("text", {
      ...OWN, text: "a", originalText: "a", fontSize: 20, fontFamily: 5, textAlign: "left", verticalAlign: "top",
      containerId: null, autoResize: true, lineHeight: 1.25,
    }),
    element("arrow", {
      ...OWN, points: [[0, 0], [30, 40]], lastCommittedPoint: null, startBinding: { elementId: "r", focus: 0, gap: 1 },
      endBinding: null, startArrowhead: null, endArrowhead: "arrow", elbowed: false,
    }),
  ])("an element of today is shown as it is: $type", (own) => {
    const before = structuredClone(own);
    expect(shown(own)).toEqual(own);
    expect(own).toEqual(before);
  });

  test("an arrow without a head stays one, and one that says nothing of its head has one", () => {
    const line = { points: [[0, 0], [9, 9]] };
    expect(shown(element("arrow", { ...line, endArrowhead: null }))["endArrowhead"]).toBeNull();
    expect(shown(element("arrow", line))["endArrowhead"]).toBe("arrow");
  });

  test("an empty text stays a text, with its version", () => {
    const text = shown(element("text", { text: "", width: 0, height: 25 }));
    expect(text).toMatchObject({ text: "", isDeleted: false, version: 3, versionNonce: 7, height: 25 });
  });

  test("a former font says the size where nothing else does, and the newer fields win over it", () => {
    expect(shown(element("text", { text: "a", font: "20px Virgil" }))).toMatchObject({ fontSize: 20, fontFamily: 1 });
    const edited = shown(element("text", { text: "a", font: "20px Virgil", fontSize: 36, fontFamily: 2 }));
    expect(edited).toMatchObject({ fontSize: 36, fontFamily: 2 });
    expect("font" in edited).toBe(false);
  });

  test("a former sharpness says the roundness where nothing else does, and a removed roundness stays removed", () => {
    expect(shown(element("rectangle", { strokeSharpness: "round" }))["roundness"]).toEqual({ type: 1 });
    expect(shown(element("line", { strokeSharpness: "round" }))["roundness"]).toEqual({ type: 2 });
    expect(shown(element("rectangle", { strokeSharpness: "round", roundness: null }))["roundness"]).toBeNull();
  });

  test("an element of January 2020 is shown", () => {
    const line = shown(element("draw", { x: 5, y: 6, width: 7, height: 8 }));
    expect(line).toMatchObject({ type: "line", points: [[0, 0], [7, 8]] });
    expect(shown(element("rectangle", { boundElementIds: ["a"] }))["boundElements"]).toEqual([{ type: "arrow", id: "a" }]);
  });

  test("a line begins where it is", () => {
    expect(shown(element("line", { x: 10, y: 10, points: [[5, 6], [8, 9]] })))
      .toMatchObject({ x: 15, y: 16, width: 3, height: 3, points: [[0, 0], [3, 3]] });
  });

  test("a stroke without pressures is drawn", () => {
    expect(shown(element("freedraw", { points: [[0, 0], [5, 5]] }))).toMatchObject({ pressures: [], simulatePressure: true });
  });

  test("a stroke without points is neither drawn nor at fault", () => {
    expect(judge(element("freedraw", { points: null }))).toBeUndefined();
    expect(judge(element("freedraw", { points: [] }))).toBeUndefined();
  });

  test("a text without a size can be seen, whole", () => {
    const text = shown(element("text", { text: "two\nlines here" }));
    expect(text["height"]).toBe(50);
    expect(text["width"]).toBeGreaterThan(90);
    expect(shown(element("text", { text: "a", height: 0, width: 12 }))["height"]).toBe(25);
  });

  test.each([
    ["freedraw", { points: [{}, {}] }, "its points is not a list of points"],
    ["freedraw", { points: "x" }, "its points is not a list of points"],
    ["line", { points: [[0, "1"], [1, 1]] }, "its points is not a list of points"],
    ["frame", { name: {} }, "its name is not a text"],
    ["rectangle", { x: "12" }, "its x is not a place on the board"],
    ["rectangle", { width: 1e12 }, "its width is not a size that can be drawn"],
    ["line", { roughness: 1e300 }, "its roughness is not a number that can be drawn with"],
    ["rectangle", { scale: "x" }, "its scale is not two numbers"],
    ["rectangle", { boundElements: "x" }, "its boundElements is not a list of bound elements"],
    ["rectangle", { boundElements: [null] }, "its boundElements is not a list of bound elements"],
    ["rectangle", { groupIds: "x" }, "its groupIds is not a list of texts"],
    ["rectangle", { strokeColor: 7 }, "its strokeColor is not a text"],
    ["text", { text: {} }, "its text is not a text"],
    ["arrow", { startBinding: "x" }, "its startBinding is not a binding"],
    ["image", { scale: "x" }, "its scale is not two numbers"],
    ["toString", {}, "its type, toString, is not known"],
  ])("a %s with a field of a wrong type is not shown: %j", (type, more, why) => {
    expect(fault(element(type, more))).toBe(why);
  });

  test("absent fields, empty ones, data of its own and unknown fields are no fault", () => {
    const empty = Object.fromEntries(Object.keys(OWN).map((field) => [field, null]));
    for (const type of ["rectangle", "text", "line", "arrow", "image", "frame", "embeddable"]) {
      expect(fault(element(type))).toBeUndefined();
      expect(fault(element(type, { ...empty, customData: [{}], points: null, name: null, text: null }))).toBeUndefined();
    }
    expect(shown(element("rectangle", { customData: { a: 1 }, later: "x" }))).toMatchObject({ customData: { a: 1 }, later: "x" });
  });

  test("a scale that says nothing is none, since Excalidraw looks at any", () => {
    expect("scale" in shown(element("rectangle", { scale: null }))).toBe(false);
    expect(shown(element("image", { scale: null }))["scale"]).toEqual([1, 1]);
  });

  test("a link that a browser would run is not shown as one", () => {
    expect(shown(element("rectangle", { link: "javascript:alert(1)" }))["link"]).toBeNull();
  });
});

describe("sending", () => {
  test.each([
    ["example.com/page", "https://example.com/page"],
    ["www.example.com", "https://www.example.com"],
    ["example.com", "https://example.com"],
    ["example.com:8080/?q=1#a", "https://example.com:8080/?q=1#a"],
    ["bücher.example", "https://bücher.example"],
    ["https://a.example/b", "https://a.example/b"],
    ["HTTP://a.example", "HTTP://a.example"],
    ["mailto:a@b.example", "mailto:a@b.example"],
    [" https://a.example ", "https://a.example"],
    ["[[My note]]", null],
    ["obsidian://x", null],
    ["ftp://a.example", null],
    ["javascript:alert(1)", null],
    ["#a", null],
    ["/a", null],
    ["note", null],
    ["", null],
  ])("the link %j is sent as %j", (link, sent) => {
    expect(safeLink(link)).toBe(sent);
  });

  test("what the server would refuse an element for is dropped from it, and named", () => {
    let deep: unknown = 1;
    for (let n = 0; n < 80; n += 1) deep = [deep];
    const { element: sent, dropped } = sendable(element("rectangle", { link: "#a", customData: deep, x: 4 }));
    expect(sent).toEqual(element("rectangle", { link: null, x: 4 }));
    expect(dropped).toEqual(["link", "customData"]);
  });

  test("half of a surrogate pair is replaced in every text, and the element is another one then", () => {
    const { element: sent, isMended } = sendable(element("text", { text: "cut \ud83d", customData: { of: ["\ude00"] } }));
    expect(sent).toEqual(element("text", { text: "cut \ufffd", customData: { of: ["\ufffd"] } }));
    expect(isMended).toBe(true);
    // A text that only looks like the escape of one.
    expect(sendable(element("text", { text: "\\ud83d and 😀" })).isMended).toBe(false);
  });

  test("former fields are not sent", () => {
    const { element: sent, dropped } = sendable(element("text", { text: "a", fontSize: 36, font: "20px Virgil", baseline: 3 }));
    expect(sent).toEqual(element("text", { text: "a", fontSize: 36 }));
    expect(dropped).toEqual([]);
  });
});
