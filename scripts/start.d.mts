export type ElectronBinary = { path: string; reason?: undefined } | { path?: undefined; reason: string };
export function findElectron(options?: { obtain?: boolean }): ElectronBinary;
export function chooseWindow(): ElectronBinary;
