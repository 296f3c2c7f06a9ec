/** Long enough to be measured by itself. */
const LONG_MS = 300;

/** Milliseconds of a piece of work: of its second run, unless the first takes so long that what it prepares does not matter. */
export async function timed(work: () => Promise<unknown>, clock: () => number): Promise<number> {
  const once = async (): Promise<number> => {
    const start = clock();
    await work();
    return clock() - start;
  };
  const first = await once();
  return first > LONG_MS ? first : once();
}
