// ONNX Runtime's C API through koffi. The JavaScript binding of onnxruntime-node copies every output; training
// must not, so we call the shared library that it ships. Slots of the function table are a stable, append-only ABI
// (onnxruntime_c_api.h, struct OrtApi).

import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import koffi from "koffi";
import { EngineError, unknownName } from "../core/errors.ts";

/** A native pointer; 0n is null. */
export type Pointer = bigint;

// koffi runs a native function on a stack of its own, by default 128 KiB for asynchronous calls. The matrix kernels of ONNX
// Runtime keep whole panels on the stack: with the default they write past its end, once in some hundred runs visibly.
koffi.config({ sync_stack_size: 8 << 20, async_stack_size: 8 << 20 });

const API_VERSION = 20;
const TABLE_LENGTH = 225;

export interface RuntimeOptions {
  /** Execution provider of ONNX Runtime: "cpu", "cuda", "coreml", "dml", "webgpu", … */
  readonly device: string;
  /** Threads of one operator. */
  readonly threads: number;
  /** Busy-wait between operators: faster on an idle machine, wasteful on a shared one. */
  readonly spinning: boolean;
}

/** Execution providers by the names people know: how ONNX Runtime registers each, and how its call for all of them names it. */
const PROVIDERS: Readonly<Record<string, { readonly registered: string; readonly name: string }>> =
  {
    cpu: { registered: "CPUExecutionProvider", name: "CPU" },
    cuda: { registered: "CUDAExecutionProvider", name: "CUDA" },
    openvino: { registered: "OpenVINOExecutionProvider", name: "OpenVINO" },
    coreml: { registered: "CoreMLExecutionProvider", name: "CoreML" },
    dml: { registered: "DmlExecutionProvider", name: "DML" },
    webgpu: { registered: "WebGpuExecutionProvider", name: "WebGPU" },
    xnnpack: { registered: "XnnpackExecutionProvider", name: "XNNPACK" },
    qnn: { registered: "QNNExecutionProvider", name: "QNN" },
  };

/** What `device` may be; whether this build has it shows when the first program is made. */
export const deviceNames: readonly string[] = Object.keys(PROVIDERS);

function libraryPath(): string {
  const root = join(
    dirname(createRequire(import.meta.url).resolve("onnxruntime-node/package.json")),
    "bin/napi-v6",
  );
  const folder = join(root, process.platform, process.arch);
  const pattern =
    process.platform === "win32"
      ? /^onnxruntime\.dll$/
      : /^libonnxruntime(\.so\.1|\.\d+\.\d+\.\d+\.dylib)$/;
  const file = existsSync(folder)
    ? readdirSync(folder).find((name) => pattern.test(name))
    : undefined;
  if (file === undefined) {
    const known = readdirSync(root).flatMap((os) =>
      readdirSync(join(root, os)).map((cpu) => `${os}-${cpu}`),
    );
    throw new EngineError({
      where: "ONNX Runtime",
      expected: `a platform that onnxruntime-node ships (${known.join(", ")})`,
      got: `${process.platform}-${process.arch}`,
    });
  }
  return join(folder, file);
}

/** Kept for the life of the process: koffi unloads a library whose handle is collected, and then every function pointer dangles. */
const loaded: ReturnType<typeof koffi.load>[] = [];

/** Loads the library that onnxruntime-node ships; the function pointers of its C API. */
export function functionTable(): readonly Pointer[] {
  loaded.push(koffi.load(libraryPath()));
  const base = loaded.at(-1)!.func("void* OrtGetApiBase()")();
  const struct = koffi.decode(base, koffi.array("void*", 2));
  const api = koffi.call(struct[0], koffi.proto("void* OrtGetApi(uint32_t version)"), API_VERSION);
  if (!api) {
    throw new EngineError({
      where: "ONNX Runtime",
      expected: `a library with C API version ${API_VERSION}`,
      got: "an older one",
      hint: "reinstall onnxruntime-node",
    });
  }
  return koffi.decode(api, koffi.array("void*", TABLE_LENGTH));
}

type NativeFunction = ((...values: unknown[]) => unknown) & {
  async: (...values: unknown[]) => void;
};

/** The slots that we use, each with its C signature. `P` marks a pointer that is written through. */
const SLOTS = {
  GetErrorMessage: [2, "str GetErrorMessage(void* status)"],
  SessionEndProfiling: [
    110,
    "void* SessionEndProfiling(void* session, void* allocator, void* out)",
  ],
  AllocatorFree: [76, "void* AllocatorFree(void* allocator, void* memory)"],
  GetAllocatorWithDefaultOptions: [78, "void* GetAllocatorWithDefaultOptions(void* out)"],
  ReleaseStatus: [93, "void ReleaseStatus(void* value)"],
  ReleaseSession: [95, "void ReleaseSession(void* value)"],
  ReleaseValue: [96, "void ReleaseValue(void* value)"],
  ReleaseSessionOptions: [100, "void ReleaseSessionOptions(void* value)"],
  CreateSessionFromArray: [
    8,
    "void* CreateSessionFromArray(void* env, void* bytes, size_t length, void* options, void* out)",
  ],
  Run: [
    9,
    "void* Run(void* session, void* options, void* inNames, void* inValues, size_t nIn, void* outNames, size_t nOut, void* outValues)",
  ],
  CreateSessionOptions: [10, "void* CreateSessionOptions(void* out)"],
  DisableMemPattern: [17, "void* DisableMemPattern(void* options)"],
  EnableProfiling: [14, "void* EnableProfiling(void* options, const char* prefix)"],
  SetSessionGraphOptimizationLevel: [
    23,
    "void* SetSessionGraphOptimizationLevel(void* options, int level)",
  ],
  CreateTensorWithDataAsOrtValue: [
    49,
    "void* CreateTensorWithDataAsOrtValue(void* memory, void* data, size_t bytes, void* dims, size_t rank, int type, void* out)",
  ],
  CreateCpuMemoryInfo: [69, "void* CreateCpuMemoryInfo(int allocator, int type, void* out)"],
  CreateEnvWithGlobalThreadPools: [
    119,
    "void* CreateEnvWithGlobalThreadPools(int level, const char* name, void* threading, void* out)",
  ],
  AddSessionConfigEntry: [
    130,
    "void* AddSessionConfigEntry(void* options, const char* key, const char* value)",
  ],
  CreateAndRegisterAllocator: [
    144,
    "void* CreateAndRegisterAllocator(void* env, void* memory, void* arena)",
  ],
  CreateArenaCfg: [
    156,
    "void* CreateArenaCfg(size_t maxBytes, int extendStrategy, int initialChunkBytes, int maxDeadBytes, void* out)",
  ],
  ReleaseArenaCfg: [157, "void ReleaseArenaCfg(void* value)"],
  DisablePerSessionThreads: [120, "void* DisablePerSessionThreads(void* options)"],
  CreateThreadingOptions: [121, "void* CreateThreadingOptions(void* out)"],
  ReleaseThreadingOptions: [122, "void ReleaseThreadingOptions(void* value)"],
  GetAvailableProviders: [125, "void* GetAvailableProviders(void* out, void* count)"],
  ReleaseAvailableProviders: [126, "void* ReleaseAvailableProviders(void* names, int count)"],
  SetGlobalIntraOpNumThreads: [147, "void* SetGlobalIntraOpNumThreads(void* options, int threads)"],
  SetGlobalInterOpNumThreads: [148, "void* SetGlobalInterOpNumThreads(void* options, int threads)"],
  SetGlobalSpinControl: [149, "void* SetGlobalSpinControl(void* options, int allow)"],
  AppendCudaV2: [
    204,
    "void* SessionOptionsAppendExecutionProvider_CUDA_V2(void* options, void* cuda)",
  ],
  CreateCUDAProviderOptions: [205, "void* CreateCUDAProviderOptions(void* out)"],
  ReleaseCUDAProviderOptions: [208, "void ReleaseCUDAProviderOptions(void* value)"],
  SessionOptionsAppendExecutionProvider: [
    216,
    "void* SessionOptionsAppendExecutionProvider(void* options, const char* name, void* keys, void* values, size_t count)",
  ],
} as const satisfies Record<string, readonly [number, string]>;

type SlotName = keyof typeof SLOTS;

/** One loaded ONNX Runtime with its environment and thread pool; the process has one. */
export class OrtLibrary {
  readonly #functions = {} as Record<SlotName, NativeFunction>;
  readonly #environment: Pointer;
  readonly #cpuMemory: Pointer;
  /** Receives results; typed arrays of 64 bytes or less would live inside the JavaScript heap and move. */
  readonly #out = new BigUint64Array(new ArrayBuffer(128));
  /** Extents of the value that is being made; ONNX Runtime copies them. At most 32 axes. */
  readonly #dims = new BigInt64Array(new ArrayBuffer(256));
  readonly options: RuntimeOptions;

  constructor(options: RuntimeOptions) {
    this.options = options;
    const table = functionTable();
    for (const [name, [index, signature]] of Object.entries(SLOTS)) {
      this.#functions[name as SlotName] = koffi.decode(
        table[index],
        koffi.proto(signature),
      ) as NativeFunction;
    }
    const threading = this.created("CreateThreadingOptions");
    this.checked("SetGlobalIntraOpNumThreads", threading, options.threads);
    this.checked("SetGlobalInterOpNumThreads", threading, 1);
    this.checked("SetGlobalSpinControl", threading, options.spinning ? 1 : 0);
    this.#environment = this.created("CreateEnvWithGlobalThreadPools", 3, "alidade", threading);
    this.call("ReleaseThreadingOptions", threading);
    this.#cpuMemory = this.created("CreateCpuMemoryInfo", 1, 0);
    // One arena for all programs: together they need what those that run at the same time need.
    const arena = this.created("CreateArenaCfg", 0, 1, -1, -1);
    this.checked("CreateAndRegisterAllocator", this.#environment, this.#cpuMemory, arena);
    this.call("ReleaseArenaCfg", arena);
  }

  call(name: SlotName, ...values: unknown[]): unknown {
    return this.#functions[name](...values);
  }

  /** Calls a function that returns a status; throws an EngineError with ONNX Runtime's own message. */
  checked(name: SlotName, ...values: unknown[]): void {
    this.#raise(name, this.call(name, ...values) as Pointer | null);
  }

  /** Calls a function whose last parameter receives a pointer, and returns that pointer. */
  created(name: SlotName, ...values: unknown[]): Pointer {
    this.checked(name, ...values, koffi.address(this.#out));
    return this.#out[0]!;
  }

  /** `Run` on a worker thread: the event loop keeps turning. */
  async run(session: Pointer, names: RunTables): Promise<void> {
    const status = await new Promise<Pointer | null>((resolve, reject) => {
      this.#functions.Run.async(
        session,
        null,
        ...names.arguments,
        (error: unknown, result: Pointer | null) => {
          if (error) reject(new EngineError("ONNX Runtime: the call could not be started", error));
          else resolve(result);
        },
      );
    });
    this.#raise("Run", status);
  }

  /** `Run` on this thread, for programs that take microseconds. */
  runNow(session: Pointer, names: RunTables): void {
    this.checked("Run", session, null, ...names.arguments);
  }

  /** A session of a model; `optimise` lets the runtime rewrite its graph. */
  createSession(
    model: Uint8Array,
    { optimise, profilePrefix }: { optimise: boolean; profilePrefix: string | undefined },
  ): Pointer {
    const options = this.created("CreateSessionOptions");
    try {
      this.checked("DisablePerSessionThreads", options);
      this.checked("AddSessionConfigEntry", options, "session.use_env_allocators", "1");
      this.checked("SetSessionGraphOptimizationLevel", options, optimise ? 99 : 0);
      // Patterns ask the arena for one block a program; with many shapes that keeps twice the memory, and is no faster.
      this.checked("DisableMemPattern", options);
      if (profilePrefix !== undefined) this.checked("EnableProfiling", options, profilePrefix);
      if (this.options.device !== "cpu") this.#appendProvider(options);
      return this.created(
        "CreateSessionFromArray",
        this.#environment,
        model,
        model.length,
        options,
      );
    } finally {
      this.call("ReleaseSessionOptions", options);
    }
  }

  /** Writes ONNX Runtime's profile (a JSON trace) and returns its path. */
  endProfiling(session: Pointer): string {
    const allocator = this.created("GetAllocatorWithDefaultOptions");
    const text = this.created("SessionEndProfiling", session, allocator);
    const path = koffi.decode.string(text);
    this.checked("AllocatorFree", allocator, text);
    return path;
  }

  /** A value over memory that we own; no copy. The memory must outlive the value. */
  createValue(
    address: Pointer,
    bytes: number,
    shape: readonly number[],
    elementType: number,
  ): Pointer {
    const rank = shape.length;
    this.#dims.set(shape.map(BigInt));
    return this.created(
      "CreateTensorWithDataAsOrtValue",
      this.#cpuMemory,
      address,
      bytes,
      koffi.address(this.#dims),
      rank,
      elementType,
    );
  }

  /** Execution providers of this build, by the names that the `device` setting takes. */
  devices(): string[] {
    const out = this.#out;
    this.checked("GetAvailableProviders", koffi.address(out), koffi.address(out) + 8n);
    const [list, count] = [out[0]!, Number(out[1]! & 0x7fffffffn)];
    const names: string[] = koffi.decode(list, koffi.array("str", count));
    this.checked("ReleaseAvailableProviders", list, count);
    return names.map(
      (name) => Object.keys(PROVIDERS).find((key) => PROVIDERS[key]!.registered === name) ?? name,
    );
  }

  #appendProvider(options: Pointer): void {
    const { device } = this.options;
    const available = this.devices();
    if (!(device in PROVIDERS))
      throw unknownName("device", "device", device, Object.keys(PROVIDERS));
    if (!available.includes(device)) {
      throw new EngineError({
        where: "device",
        expected: `one that this build of ONNX Runtime has (${available.join(", ")})`,
        got: JSON.stringify(device),
        hint: "for CUDA on Linux remove onnxruntime-node-install=skip from .npmrc and install again",
      });
    }
    if (device === "cuda") this.#appendCuda(options);
    else {
      const { name } = PROVIDERS[device]!;
      this.checked("SessionOptionsAppendExecutionProvider", options, name, null, null, 0);
    }
  }

  /** CUDA is not among the names of the call for all providers. */
  #appendCuda(options: Pointer): void {
    const settings = this.created("CreateCUDAProviderOptions");
    try {
      this.checked("AppendCudaV2", options, settings);
    } catch (cause) {
      throw new EngineError({
        where: "device",
        expected: "the CUDA libraries of ONNX Runtime and an NVIDIA card",
        got: cause instanceof Error ? cause.message : String(cause),
        hint: "remove onnxruntime-node-install=skip from .npmrc and install again",
        cause,
      });
    } finally {
      this.call("ReleaseCUDAProviderOptions", settings);
    }
  }

  #raise(name: string, status: Pointer | null): void {
    if (!status) return;
    const message = this.call("GetErrorMessage", status) as string;
    this.call("ReleaseStatus", status);
    // A process has one environment of ONNX Runtime; that of its JavaScript binding has no threads for all sessions.
    const hint = message.includes("EnvCreatedWithGlobalThreadPools")
      ? " (a session of onnxruntime-node was made before the first program; make them in the other order)"
      : "";
    throw new EngineError(`ONNX Runtime ${name}: ${message}${hint}`);
  }
}

/** Names and values of one binding as the C arrays that `Run` wants. Keeps them alive. */
export class RunTables {
  readonly arguments: readonly unknown[];
  readonly #keep: unknown[] = [];

  constructor(
    inputs: readonly (readonly [string, Pointer])[],
    outputs: readonly (readonly [string, Pointer])[],
  ) {
    const names = (side: readonly (readonly [string, Pointer])[]): Pointer =>
      this.#table(side.map(([name]) => this.#text(name)));
    const values = (side: readonly (readonly [string, Pointer])[]): Pointer =>
      this.#table(side.map(([, value]) => value));
    this.arguments = [
      names(inputs),
      values(inputs),
      inputs.length,
      names(outputs),
      outputs.length,
      values(outputs),
    ];
  }

  #text(text: string): Pointer {
    // At least 128 bytes: smaller arrays live inside the JavaScript heap and move.
    const bytes = new Uint8Array(new ArrayBuffer(Math.max(128, text.length * 3 + 1)));
    new TextEncoder().encodeInto(text, bytes);
    this.#keep.push(bytes);
    return koffi.address(bytes);
  }

  #table(pointers: readonly Pointer[]): Pointer {
    const table = new BigUint64Array(new ArrayBuffer(Math.max(128, pointers.length * 8)));
    table.set(pointers);
    this.#keep.push(table);
    return koffi.address(table);
  }
}

/** The address of a typed array's first element. */
export function addressOf(data: ArrayBufferView): Pointer {
  return koffi.address(data);
}

let library: OrtLibrary | undefined;
let wanted: RuntimeOptions = { device: "cpu", threads: 2, spinning: false };

/** Chooses device and threads; must come before the first program, because the process has one thread pool. */
export function configureRuntime(options: Partial<RuntimeOptions>): void {
  const next = { ...wanted, ...options };
  if (!(next.device in PROVIDERS))
    throw unknownName("device", "device", next.device, Object.keys(PROVIDERS));
  if (library !== undefined && JSON.stringify(next) !== JSON.stringify(library.options)) {
    throw new EngineError({
      where: "configureRuntime",
      expected: "one choice of device and threads a process, made before the first program",
      got: JSON.stringify(next),
      hint: `running with ${JSON.stringify(library.options)}`,
    });
  }
  wanted = next;
}

export function ortLibrary(): OrtLibrary {
  library ??= new OrtLibrary(wanted);
  return library;
}
