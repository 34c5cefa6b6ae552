// A Terraform provider that has a schema and does nothing: Terraform holds modules to it, and mocks the rest.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"log"
	"maps"
	"slices"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

//go:embed schema.json
var schemaJSON []byte

type attribute struct {
	Type     json.RawMessage `json:"type"`
	Required bool            `json:"required"`
	Computed bool            `json:"computed"`
}

type nested struct {
	Many     bool  `json:"many"`
	Required bool  `json:"required"`
	Block    block `json:"block"`
}

type block struct {
	Attributes map[string]attribute `json:"attributes"`
	Blocks     map[string]nested    `json:"blocks"`
}

type schemas struct {
	Resources map[string]block `json:"resources"`
	Data      map[string]block `json:"data"`
}

// What may be unset is computed as well, as the real provider mostly has it: a plan may then leave it open.
func (b block) schema(isTop bool) (*tfprotov5.SchemaBlock, error) {
	out := &tfprotov5.SchemaBlock{}
	for _, name := range slices.Sorted(maps.Keys(b.Attributes)) {
		of := b.Attributes[name]
		kind, err := tftypes.ParseJSONType(of.Type) //nolint:staticcheck // The only reader of types that there is.
		if err != nil {
			return nil, err
		}
		out.Attributes = append(out.Attributes, &tfprotov5.SchemaAttribute{
			Name: name, Type: kind, Required: of.Required, Optional: !of.Required && !of.Computed,
			Computed: of.Computed || (isTop && !of.Required && (name == "id" || name == "arn" || name == "tags_all")),
		})
	}
	for _, name := range slices.Sorted(maps.Keys(b.Blocks)) {
		of := b.Blocks[name]
		inner, err := of.Block.schema(false)
		if err != nil {
			return nil, err
		}
		block := &tfprotov5.SchemaNestedBlock{
			TypeName: name, Block: inner, Nesting: tfprotov5.SchemaNestedBlockNestingModeSet,
		}
		if !of.Many {
			block.Nesting, block.MaxItems = tfprotov5.SchemaNestedBlockNestingModeList, 1
		}
		if of.Required {
			block.MinItems = 1
		}
		out.BlockTypes = append(out.BlockTypes, block)
	}
	return out, nil
}

func all(blocks map[string]block) (map[string]*tfprotov5.Schema, error) {
	out := map[string]*tfprotov5.Schema{}
	for name, of := range blocks {
		block, err := of.schema(true)
		if err != nil {
			return nil, err
		}
		out[name] = &tfprotov5.Schema{Block: block}
	}
	return out, nil
}

// Whatever is not here is never asked for: `validate` wants no more, and `test` mocks the rest.
type provider struct {
	tfprotov5.ProviderServer
	schema *tfprotov5.GetProviderSchemaResponse
}

func (p provider) GetMetadata(context.Context, *tfprotov5.GetMetadataRequest) (*tfprotov5.GetMetadataResponse, error) {
	out := &tfprotov5.GetMetadataResponse{}
	for name := range p.schema.ResourceSchemas {
		out.Resources = append(out.Resources, tfprotov5.ResourceMetadata{TypeName: name})
	}
	for name := range p.schema.DataSourceSchemas {
		out.DataSources = append(out.DataSources, tfprotov5.DataSourceMetadata{TypeName: name})
	}
	return out, nil
}

func (p provider) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	return p.schema, nil
}

func (p provider) PrepareProviderConfig(_ context.Context, r *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: r.Config}, nil
}

func (p provider) ValidateResourceTypeConfig(context.Context, *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	return &tfprotov5.ValidateResourceTypeConfigResponse{}, nil
}

func (p provider) ValidateDataSourceConfig(context.Context, *tfprotov5.ValidateDataSourceConfigRequest) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	return &tfprotov5.ValidateDataSourceConfigResponse{}, nil
}

func (p provider) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

func main() {
	var known schemas
	if err := json.Unmarshal(schemaJSON, &known); err != nil {
		log.Fatal(err)
	}
	resources, err := all(known.Resources)
	if err != nil {
		log.Fatal(err)
	}
	data, err := all(known.Data)
	if err != nil {
		log.Fatal(err)
	}
	serve := func() tfprotov5.ProviderServer {
		return provider{schema: &tfprotov5.GetProviderSchemaResponse{
			Provider:          &tfprotov5.Schema{Block: &tfprotov5.SchemaBlock{Attributes: []*tfprotov5.SchemaAttribute{{Name: "region", Type: tftypes.String, Optional: true}}}},
			ResourceSchemas:   resources,
			DataSourceSchemas: data,
		}}
	}
	if err := tf5server.Serve("registry.terraform.io/hashicorp/aws", serve); err != nil {
		log.Fatal(err)
	}
}
