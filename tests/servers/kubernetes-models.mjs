// Validates manifests of kinds that are not Kubernetes' own.
import fs from "node:fs";
import * as keda from "@kubernetes-models/keda";
import * as prometheus from "@kubernetes-models/prometheus-operator";

const { ScaledObject } = keda.kedaSh.v1alpha1;
const { PodMonitor, PrometheusRule } = prometheus.monitoringCoreosCom.v1;

const kinds = { ScaledObject, PodMonitor, PrometheusRule };
let wrong = 0;
for (const file of process.argv.slice(2)) {
  for (const manifest of JSON.parse(fs.readFileSync(file, "utf8"))) {
    const Kind = kinds[manifest.kind];
    const known = Kind && new Kind({}).apiVersion === manifest.apiVersion;
    try {
      if (!known) throw new Error("no schema for it");
      new Kind(manifest).validate();
    } catch (error) {
      wrong += 1;
      console.error(`${file}: ${manifest.kind} ${manifest.metadata?.name}: ${error.message}`);
    }
  }
}
process.exitCode = wrong ? 1 : 0;
