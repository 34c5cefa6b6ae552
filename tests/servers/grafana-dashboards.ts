// What a dashboard of ours may be, made of Grafana's own types. `grafana-schema check` puts dashboards below.
import type { Dashboard, Panel, RowPanel } from '@grafana/schema';
import type { Options as StatOptions } from './node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type { Options as SeriesOptions, FieldConfig as SeriesField } from './node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// Enums are written in JSON as their values.
type Plain<T> = unknown extends T ? T
  : T extends string ? `${T}`
  : T extends number ? (`${T}` extends `${infer N extends number}` ? N : T)
  : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> }
  : T;

type Fields<Custom> = NonNullable<Plain<Panel>['fieldConfig']>['defaults'] extends infer D
  ? Omit<D, 'custom'> & { custom?: Plain<Partial<Custom>> }
  : never;

// Grafana fills in what is missing of a panel's options and of its field configuration, but for what lies deeper.
type Shown<Type extends string, Options, Custom> = Omit<Plain<Panel>, 'type' | 'options' | 'targets' | 'fieldConfig'> & {
  type: Type;
  options: Plain<Partial<Options>>;
  fieldConfig: Omit<NonNullable<Plain<Panel>['fieldConfig']>, 'defaults'> & { defaults: Fields<Custom> };
  targets: { refId: string; expr: string; legendFormat: string; instant?: boolean; range?: boolean }[];
};

export type Whole = Omit<Plain<Dashboard>, 'panels'> & {
  panels: (Shown<'stat', StatOptions, {}> | Shown<'timeseries', SeriesOptions, SeriesField> | Plain<RowPanel>)[];
};

