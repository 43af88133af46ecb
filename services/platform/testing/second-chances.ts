import type { Reporter, TestModule } from "vitest/node";

/** Names the tests that failed and then passed, and why they failed, so that a second chance hides nothing. */
export const secondChances: Reporter = {
  onTestRunEnd(modules: readonly TestModule[]) {
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        if (!test.diagnostic()?.flaky) continue;
        const why = test
          .result()
          .errors?.map((error) => error.message.split("\n", 1)[0])
          .join("; ");
        console.warn(`passed at the second try: ${module.relativeModuleId} > ${test.fullName}: ${why}`);
      }
    }
  },
};
