'use strict';
// The set-up of the OpenTelemetry guide for Node, with the headers of answers and the rows of statements.
const { NodeSDK } = require('@opentelemetry/sdk-node');
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-proto');
const { getNodeAutoInstrumentations } = require('@opentelemetry/auto-instrumentations-node');

const off = { enabled: false };
const sdk = new NodeSDK({
  traceExporter: new OTLPTraceExporter(),
  instrumentations: [getNodeAutoInstrumentations({
    '@opentelemetry/instrumentation-dns': off,
    '@opentelemetry/instrumentation-fs': off,
    '@opentelemetry/instrumentation-net': off,
    '@opentelemetry/instrumentation-http': {
      headersToSpanAttributes: { server: { responseHeaders: [
        'content-length', 'content-type', 'content-encoding', 'etag', 'cache-control'] } },
    },
    '@opentelemetry/instrumentation-pg': {
      enhancedDatabaseReporting: process.env.SHOW_VALUES === '1',
      responseHook: (span, { data }) => {
        if (data && Array.isArray(data.rows)) span.setAttribute('db.response.returned_rows', data.rows.length);
      },
    },
  })],
});
sdk.start();
process.on('SIGTERM', () => sdk.shutdown().finally(() => process.exit(0)));
