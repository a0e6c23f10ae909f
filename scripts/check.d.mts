export type Tool = [name: string, ...args: string[]];
export const tools: Record<"lint" | "types" | "window types" | "layers" | "dead code" | "format", Tool>;
export function runTool(tool: Tool, folder?: string): Promise<{ code: number; said: string }>;
