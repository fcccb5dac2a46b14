/* No press is lost. The server tells of all events of a page in one stream, which it closes after the last of them. An
   event that joins while the news of that is on its way is told of in no stream, and Gradio's client waits for ever: its
   button is dead. Where an event was not heard of and no stream is open, another one is asked for, and brings both. */
(() => {
  const HEARD_WITHIN = 1000; // ms
  const fetched = window.fetch;
  const unheard = new Set();
  let open = 0;
  const look = () => {
    if (!unheard.size || open) return;
    unheard.clear(); // once for each; what asks is an event itself
    document.querySelector("#tt-stream")?.click();
  };
  const listen = async (stream) => {
    open += 1;
    try {
      const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        for (const event of unheard) if (part.value.includes(event)) unheard.delete(event);
      }
    } catch { /* the page was left, or the client closed it */ }
    open -= 1;
    setTimeout(look, HEARD_WITHIN);
  };
  window.fetch = async (...given) => {
    const response = await fetched(...given);
    const address = new URL(given[0]?.url || given[0], location.href).pathname;
    if (!response.ok) return response;
    if (address.endsWith("/queue/data")) listen(response.clone().body);
    if (address.endsWith("/queue/join")) {
      const {event_id: event} = await response.clone().json();
      unheard.add(event);
      setTimeout(look, HEARD_WITHIN);
    }
    return response;
  };
})();
