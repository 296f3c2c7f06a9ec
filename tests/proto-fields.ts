// Reads protocol buffers without a schema and without the library that wrote them: field numbers with their raw values.

export interface ProtoField {
  readonly field: number;
  /** Varint as a number, fixed values and strings of bytes as bytes. */
  readonly value: number | Buffer;
}

export function protoFields(bytes: Buffer): ProtoField[] {
  let position = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[position++]!;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  const take = (length: number): Buffer => {
    if (position + length > bytes.length) throw new Error("a field ends behind its message");
    return bytes.subarray(position, (position += length));
  };
  const fields: ProtoField[] = [];
  while (position < bytes.length) {
    const tag = varint();
    const read: Readonly<Record<number, () => number | Buffer>> = {
      0: varint,
      1: () => take(8),
      2: () => take(varint()),
      5: () => take(4),
    };
    const value = read[tag & 7]?.();
    if (value === undefined) throw new Error(`unknown wire type ${tag & 7}`);
    fields.push({ field: Math.floor(tag / 8), value });
  }
  return fields;
}

/** The values of one field. */
export function valuesOf(bytes: Buffer, field: number): (number | Buffer)[] {
  return protoFields(bytes).flatMap((one) => (one.field === field ? [one.value] : []));
}

/** The messages or texts of one field. */
export const partsOf = (bytes: Buffer, field: number): Buffer[] =>
  valuesOf(bytes, field) as Buffer[];
