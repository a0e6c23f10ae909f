/** A picture that a person hands over in place of the camera: chosen, dropped or pasted. */

/** More than any photograph has; a picture made to exhaust the window is not even opened. */
const largestBytes = 32 * 1024 * 1024;

/** The first picture among what was dropped or pasted. */
export const pictureIn = (data: DataTransfer | null): File | undefined =>
  [...(data?.files ?? [])].find((file) => file.type.startsWith("image/"));

/** Undefined where the file is no picture that can be opened. */
export async function openPicture(file: File): Promise<ImageBitmap | undefined> {
  if (file.size > largestBytes) return undefined;
  try {
    return await createImageBitmap(file);
  } catch {
    return undefined;
  }
}
