CREATE INDEX CONCURRENTLY IF NOT EXISTS order_items_order_id ON order_items (order_id);
