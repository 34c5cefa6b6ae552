package compare;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;

/** A usage event as it is decoded and rated; read into again and again by one thread. */
final class Usage {
    private static final JsonFactory JSON = new JsonFactory();
    private static final String TYPE = "tidemark.usage.v1";

    private final Tier.Catalogue catalogue = new Tier.Catalogue();
    private String type;
    private String id;
    private String time;
    private String endpoint;
    private String model;
    private int status;
    private long latencyMs;
    private long inputTokens;
    private long outputTokens;
    String user;
    String provider;

    /** What the event adds to its user and to its provider. */
    final Totals ofUser = new Totals();
    final Totals ofProvider = new Totals();

    /** Decodes and rates an event. */
    void read(byte[] event) {
        type = id = time = endpoint = model = user = provider = null;
        status = 0;
        latencyMs = inputTokens = outputTokens = 0;
        try (var json = JSON.createParser(event)) {
            expect(json.nextToken(), JsonToken.START_OBJECT);
            while (json.nextToken() == JsonToken.FIELD_NAME) {
                var name = json.currentName();
                json.nextToken();
                switch (name) {
                    case "type" -> type = json.getText();
                    case "id" -> id = json.getText();
                    case "time" -> time = json.getText();
                    case "subject" -> user = json.getText();
                    case "data" -> readData(json);
                    default -> json.skipChildren();
                }
            }
        } catch (IOException e) {
            throw new IllegalArgumentException("an event is not JSON: " + e.getMessage(), e);
        }
        if (!TYPE.equals(type) || isEmpty(id) || isEmpty(time) || isEmpty(user) || isEmpty(endpoint) || isEmpty(model)) {
            throw new IllegalArgumentException("not a usage event");
        }
        rate();
    }

    private void readData(JsonParser json) throws IOException {
        expect(json.currentToken(), JsonToken.START_OBJECT);
        while (json.nextToken() == JsonToken.FIELD_NAME) {
            var name = json.currentName();
            json.nextToken();
            switch (name) {
                case "providerId" -> provider = json.getText();
                case "endpoint" -> endpoint = json.getText();
                case "model" -> model = json.getText();
                case "statusCode" -> status = json.getIntValue();
                case "latencyMs" -> latencyMs = json.getLongValue();
                case "inputTokens" -> inputTokens = json.getLongValue();
                case "outputTokens" -> outputTokens = json.getLongValue();
                default -> json.skipChildren();
            }
        }
    }

    private void rate() {
        var tier = catalogue.of(model);
        var isSuccessful = status >= 200 && status < 300;
        for (var totals : new Totals[] {ofUser, ofProvider}) {
            totals.requests = 1;
            totals.successful = isSuccessful ? 1 : 0;
            totals.failed = status >= 500 ? 1 : 0;
            totals.latencyMs = isSuccessful ? latencyMs : 0;
            totals.targetMs = isSuccessful ? tier.targetMs : 0;
        }
        ofUser.points = isSuccessful ? tier.user : 0;
        ofProvider.points = isSuccessful ? tier.provider : 0;
        ofUser.cost = isSuccessful ? tier.cost(inputTokens, outputTokens) : 0;
        ofProvider.cost = 0;
    }

    private static boolean isEmpty(String text) {
        return text == null || text.isEmpty();
    }

    private static void expect(JsonToken is, JsonToken wanted) {
        if (is != wanted) {
            throw new IllegalArgumentException("an event has " + is + " where " + wanted + " belongs");
        }
    }
}
