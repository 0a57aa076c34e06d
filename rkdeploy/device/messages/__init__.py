"""Messages to other machines: results to an MQTT broker, and to a web address."""
