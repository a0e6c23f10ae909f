import { app, Menu, type MenuItemConstructorOptions } from "electron";

/** Roles alone: the system words them in its own language and gives them its own shortcuts. */
export function setMenu(): void {
  const view: MenuItemConstructorOptions[] = [
    { role: "resetZoom" },
    { role: "zoomIn" },
    { role: "zoomOut" },
    { type: "separator" },
    { role: "togglefullscreen" },
  ];
  if (!app.isPackaged) view.push({ role: "toggleDevTools" });
  const menus: MenuItemConstructorOptions[] = [
    process.platform === "darwin" ? { role: "appMenu" } : { role: "fileMenu" },
    { role: "editMenu" },
    { role: "viewMenu", submenu: view },
    { role: "windowMenu" },
  ];
  Menu.setApplicationMenu(Menu.buildFromTemplate(menus));
}
