// Swagger UI over this server's own description, with the key of the playground's tab.

(() => {
  const theme = document.documentElement.dataset.theme;
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  // Swagger UI's own name for it.
  document.documentElement.classList.toggle("dark-mode", dark);
  window.SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#interface",
    deepLinking: true,
    tryItOutEnabled: true,
    validatorUrl: null,
    displayOperationId: true,
    defaultModelsExpandDepth: 0,
    requestInterceptor: (request) => {
      const key = sessionStorage.getItem("synaptoroute.key");
      if (key && !request.headers.Authorization) request.headers.Authorization = `Bearer ${key}`;
      return request;
    },
  });
})();
