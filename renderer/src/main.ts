import "./lib/tokens.css";
import "./lib/base.css";
import { mount } from "svelte";
import { App } from "./app.svelte.ts";
import AppView from "./App.svelte";
import { loadRich } from "./features/timeline/rich.svelte.ts";

const target = document.getElementById("app");
if (target === null) throw new Error("index.html has no #app");

const app = new App();
app.start();
mount(AppView, { target, props: { app } });

// Only after something stands on the screen.
requestAnimationFrame(() => setTimeout(() => void loadRich(), 0));
