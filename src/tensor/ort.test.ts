import { describe, expect, it } from "vitest";
import { ConfigError, EngineError } from "../core/errors.ts";
import { compile, configureRuntime, exp, input, ortLibrary } from "./index.ts";

// In this order: a process has one ONNX Runtime, and the first program starts it.
describe("the device", () => {
  it("has a name that people know, or the nearest is offered", () => {
    expect(() => configureRuntime({ device: "cud" })).toThrow(ConfigError);
    expect(() => configureRuntime({ device: "cud" })).toThrow(
      'device: expected a known device, got "cud" (did you mean "cuda"?)',
    );
    expect(() => configureRuntime({ device: "toaster" })).toThrow("known: cpu, cuda");
  });

  it("that this build does not have is an error that lists those it has", () => {
    const absent = process.platform === "win32" ? "coreml" : "dml";
    configureRuntime({ device: absent });
    const create = () => compile({ y: exp(input("x", [2])) });
    expect(create).toThrow(EngineError);
    const present = ortLibrary().devices();
    expect(present).toContain("cpu");
    expect(create).toThrow(
      `device: expected one that this build of ONNX Runtime has (${present.join(", ")}), got "${absent}"`,
    );
  });

  it("is chosen once a process, before the first program", () => {
    configureRuntime(ortLibrary().options);
    expect(() => configureRuntime({ device: "cpu" })).toThrow(
      "configureRuntime: expected one choice of device and threads a process, made before the first program",
    );
  });
});
