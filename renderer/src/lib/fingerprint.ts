/** A device's fingerprint as people compare it: groups of four, read aloud one after the other. */
export const fingerprintGroups = (fingerprint: string): string[] => fingerprint.match(/.{1,4}/gu) ?? [];
