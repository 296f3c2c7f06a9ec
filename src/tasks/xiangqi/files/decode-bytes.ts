// Text of game records: UTF-8, or the GB18030 (with GBK and GB2312 inside it) in which most Chinese programs write.

export interface DecodedText {
  /** Without a byte order mark, every line end a line feed. */
  readonly text: string;
  readonly encoding: "utf-8" | "gb18030";
  /** Some bytes were no text of the encoding; U+FFFD stands in their place. */
  readonly isLossy: boolean;
}

/** Marks bytes that could not be read. */
export const UNREADABLE = "\uFFFD";

const isMarked = (bytes: Uint8Array): boolean =>
  bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;

const plainLines = (text: string): string => text.replace(/^\uFEFF/, "").replaceAll(/\r\n?/g, "\n");

/** The text of valid UTF-8, of which a last character may be cut off; null: it is none. */
function decodeUtf8(bytes: Uint8Array): DecodedText | null {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let text: string;
  try {
    text = decoder.decode(bytes, { stream: true });
  } catch {
    return null;
  }
  try {
    decoder.decode();
    return { text: plainLines(text), encoding: "utf-8", isLossy: false };
  } catch {
    return { text: plainLines(text) + UNREADABLE, encoding: "utf-8", isLossy: true };
  }
}

/**
 * The text of a file: UTF-8 when the bytes are valid UTF-8 or begin with its mark, otherwise GB18030. A file that was cut inside its
 * last character is still UTF-8: read as GB18030, all of its names would become others.
 */
export function decodeBytes(bytes: Uint8Array): DecodedText {
  const utf8 = decodeUtf8(bytes);
  if (utf8 !== null) return utf8;
  const encoding = isMarked(bytes) ? "utf-8" : "gb18030";
  const text = plainLines(new TextDecoder(encoding).decode(bytes));
  return { text, encoding, isLossy: text.includes(UNREADABLE) };
}
