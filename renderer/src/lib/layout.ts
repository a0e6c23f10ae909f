import { MediaQuery } from "svelte/reactivity";

/** One column at a time: the list of chats, or one chat. */
export const oneColumn = new MediaQuery("width < 720px");
/** Wide enough for the details beside the conversation instead of over it. */
export const detailsBeside = new MediaQuery("width >= 1100px");
