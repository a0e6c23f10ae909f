/** A component whose code is fetched when it is first wanted to be drawn. */
import type { Component } from "svelte";

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- any component, whatever its props: the type of `import` keeps them
export class Lazy<C extends Component<any>> {
  #component = $state.raw<C | undefined>();
  #wanted = false;
  #load: () => Promise<{ default: C }>;

  constructor(load: () => Promise<{ default: C }>) {
    this.#load = load;
  }

  /** Reading this is asking for it. `undefined` until the code is here. */
  get component(): C | undefined {
    if (this.#component === undefined && !this.#wanted) {
      this.#wanted = true;
      void this.#load().then((module) => {
        this.#component = module.default;
      });
    }
    return this.#component;
  }
}
