'use strict';
// The set-up of the OpenTelemetry guide for Node, with Fastify's own instrumentation.
const { NodeSDK } = require('@opentelemetry/sdk-node');
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-proto');
const { getNodeAutoInstrumentations } = require('@opentelemetry/auto-instrumentations-node');
const { FastifyOtelInstrumentation } = require('@fastify/otel');

const off = { enabled: false };
const sdk = new NodeSDK({
  traceExporter: new OTLPTraceExporter(),
  instrumentations: [
    getNodeAutoInstrumentations({
      '@opentelemetry/instrumentation-dns': off,
      '@opentelemetry/instrumentation-fs': off,
      '@opentelemetry/instrumentation-net': off,
      '@opentelemetry/instrumentation-http': {
        headersToSpanAttributes: { server: { responseHeaders: [
          'content-length', 'content-type', 'content-encoding', 'etag', 'cache-control'] } },
      },
      '@opentelemetry/instrumentation-pg': {
        responseHook: (span, { data }) => {
          if (data && Array.isArray(data.rows)) span.setAttribute('db.response.returned_rows', data.rows.length);
        },
      },
    }),
    new FastifyOtelInstrumentation({ registerOnInitialization: true }),
  ],
});
sdk.start();
process.on('SIGTERM', () => sdk.shutdown().finally(() => process.exit(0)));
