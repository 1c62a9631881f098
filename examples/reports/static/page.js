// Start tasks, watch their streams by EventSource, and show what the worker does by WebSocket.

const byId = (id) => document.getElementById(id);
const copy = (id) => byId(id).content.firstElementChild.cloneNode(true);
const STATES = { complete: "completed", error: "failed", cancelled: "cancelled" };

async function post(path, body = {}) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return response.json();
}

function say(problem) {
  byId("problem").hidden = !problem;
  byId("problem").textContent = problem;
}

async function start(kind) {
  say("");
  try {
    const task = await post(`/tasks/${kind.app}/${kind.model}`);
    const road = document.querySelector("input[name=road]:checked").value;
    watch(task, road ? task.django_stream : task.stream);
  } catch (error) {
    say(`${kind.model} was not started: ${error.message}`);
  }
}

function watch(task, path) {
  const item = copy("task");
  const [name, state, bar, message] = ["strong", ".state", "progress", ".message"].map((part) => item.querySelector(part));
  const source = new EventSource(path);

  const show = (at, text) => { item.dataset.state = at; state.textContent = text; };
  const close = (at, text) => { source.close(); delete item.dataset.open; show(at, text); };

  name.textContent = `${task.model} ${task.id}`;
  item.dataset.open = "";
  byId("tasks").prepend(item);
  byId("none").hidden = true;

  source.addEventListener("open", () => show("running", "running"));
  source.addEventListener("progress", (event) => {
    const { step, steps, message: text } = JSON.parse(event.data);
    bar.max = steps;
    bar.value = step;
    message.textContent = `${step} of ${steps}: ${text}`;
  });
  for (const type of Object.keys(STATES)) {
    source.addEventListener(type, (event) => {
      if (event.data === undefined) {
        // The connection's own `error`: the browser connects again by itself, unless it has given up.
        if (source.readyState === EventSource.CLOSED) close("error", "the server did not answer");
        else show("running", "connecting again…");
        return;
      }
      const data = JSON.parse(event.data);
      if (type === "complete") {
        bar.value = bar.max;
        message.textContent = JSON.stringify(data.final_value);
      } else if (data.message) {
        message.textContent = data.message;
      }
      close(type, STATES[type]);
    });
  }
  item.querySelector(".leave").addEventListener("click", () => close("left", "left; the task goes on"));
  item.querySelector(".cancel").addEventListener("click", async () => {
    try {
      await post(`/tasks/${task.app}/${task.model}/${task.id}/cancel`);
    } catch (error) {
      say(`${task.model} ${task.id} was not cancelled: ${error.message}`);
    }
  });
}

function listen() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
  socket.addEventListener("message", (event) => {
    const { tasks, clients } = JSON.parse(event.data);
    byId("live").textContent = `${count(tasks, "task")} running · ${count(clients, "client")} watching`;
  });
  socket.addEventListener("close", () => {
    byId("live").textContent = "not connected";
    setTimeout(listen, 2000);
  });
}

async function begin() {
  listen();
  const response = await fetch("/django/kinds");
  if (!response.ok) {
    say(`the kinds of task could not be loaded: ${response.status}`);
    return;
  }
  for (const kind of (await response.json()).kinds) {
    const button = copy("kind");
    button.querySelector("strong").textContent = kind.model;
    button.querySelector("span").textContent = kind.summary;
    button.querySelector("small").textContent = `about ${kind.seconds} s`;
    button.addEventListener("click", () => start(kind));
    byId("kinds").append(button);
  }
}

begin();
