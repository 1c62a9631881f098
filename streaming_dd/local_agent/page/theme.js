// Before the first paint: the theme that was chosen here, else the system's. State: localStorage "theme".
document.documentElement.dataset.theme = localStorage.getItem("theme")
  || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
