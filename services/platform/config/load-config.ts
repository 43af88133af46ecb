import { z } from "zod";

/** Every problem of the environment at once; no message contains the value of a secret. */
export class ConfigError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`the configuration has ${problems.length} problem(s):\n${problems.map((p) => `  - ${p}`).join("\n")}`);
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** Types that are filled from the first of several variables; see `firstOf`. */
const sources = z.registry<{ variables: readonly string[] }>();

const found = z.tuple([z.string(), z.string()], { error: "is required" });

/** The first variable that is set wins; `parse` sees its value and its name. */
export function firstOf<T>(
  variables: readonly [string, ...string[]],
  parse: (value: string, variable: string) => { value: T } | { problem: string },
) {
  const type = found.transform(([variable, value], ctx): T => {
    const result = parse(value, variable);
    if ("value" in result) return result.value;
    ctx.addIssue({ code: "custom", message: result.problem });
    return z.NEVER;
  });
  return type.register(sources, { variables });
}

function inputOf(key: string, type: z.core.$ZodType, env: NodeJS.ProcessEnv): string | [string, string] | undefined {
  const variables = sources.get(type)?.variables;
  // An empty value counts as unset: compose files and CI systems pass variables on that way.
  if (variables === undefined) return env[key] || undefined;
  const variable = variables.find((name) => env[name]);
  return variable === undefined ? undefined : [variable, env[variable] ?? ""];
}

/**
 * Reads the configuration once from the environment.
 *
 * @throws ConfigError with all problems together, each naming its variable.
 */
export function loadConfig<S extends z.ZodRawShape>(shape: S, env = process.env): z.output<z.ZodObject<S>> {
  const input = Object.fromEntries(Object.entries(shape).map(([key, type]) => [key, inputOf(key, type, env)]));
  const result = z.object(shape).safeParse(input);
  if (result.success) return result.data;
  throw new ConfigError(
    result.error.issues.map((issue) => {
      const key = String(issue.path[0]);
      const type = shape[key];
      const variables = type === undefined ? undefined : sources.get(type)?.variables;
      return `${variables?.join(" or ") ?? key} ${issue.message}`;
    }),
  );
}
