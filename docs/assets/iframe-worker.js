// A page that is opened from a folder may start no worker, and the search runs in one: there it runs in a hidden frame instead.
// mkdocs-material looks for a script of this name, and would else fetch one from elsewhere.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.addEventListener("answer", (event) => this.dispatchEvent(new MessageEvent("message", { data: event.detail })));
      this.loaded = new Promise((done) => frame.addEventListener("load", () => done(frame.contentWindow)));
      const answer = `postMessage = (data) => frameElement.dispatchEvent(new CustomEvent("answer", { detail: data }));`;
      frame.srcdoc = `<!doctype html><script>${answer}<\/script><script src="${new URL(url, document.baseURI)}"><\/script>`;
      document.body.append(frame);
    }

    postMessage(data) { this.loaded.then((inside) => inside.dispatchEvent(new MessageEvent("message", { data }))); }
  };
}
