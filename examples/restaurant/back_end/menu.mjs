// What this restaurant cooks, from what, and where.

// Minutes from order to ready that guests accept, by station.
export const STATIONS = {
  grill: { name: 'Grill', slaMinutes: 14 },
  hot: { name: 'Hot', slaMinutes: 12 },
  fry: { name: 'Fry', slaMinutes: 8 },
  salad: { name: 'Salad', slaMinutes: 7 },
  dessert: { name: 'Dessert', slaMinutes: 8 },
  bar: { name: 'Bar', slaMinutes: 5 },
};

// `uses`: amounts of ingredients for one portion.
export const MENU = [
  { id: 'ribeye', name: 'Ribeye steak', price: 27.5, station: 'grill', uses: { beef: 0.3, butter: 0.02 } },
  { id: 'burger', name: 'House burger', price: 15.9, station: 'grill', uses: { beef: 0.2, buns: 1, cheese: 0.04 } },
  { id: 'salmon', name: 'Salmon fillet', price: 21, station: 'grill', uses: { salmon: 0.2, lemons: 0.5 } },
  { id: 'tomato-soup', name: 'Tomato soup', price: 7.5, station: 'hot', uses: { tomatoes: 0.3, cream: 0.05 } },
  { id: 'risotto', name: 'Mushroom risotto', price: 14.5, station: 'hot', uses: { rice: 0.1, mushrooms: 0.15, cream: 0.05 } },
  { id: 'gnocchi', name: 'Gnocchi with sage', price: 13.8, station: 'hot', uses: { potatoes: 0.25, butter: 0.03 } },
  { id: 'fries', name: 'French fries', price: 5.5, station: 'fry', uses: { potatoes: 0.25 } },
  { id: 'schnitzel', name: 'Wiener Schnitzel', price: 19.8, station: 'fry', uses: { veal: 0.2, lemons: 0.25 } },
  { id: 'calamari', name: 'Calamari', price: 12.4, station: 'fry', uses: { squid: 0.2, lemons: 0.25 } },
  { id: 'caesar', name: 'Caesar salad', price: 11.5, station: 'salad', uses: { lettuce: 0.5, cheese: 0.03 } },
  { id: 'caprese', name: 'Caprese', price: 10.9, station: 'salad', uses: { tomatoes: 0.2, mozzarella: 0.125 } },
  { id: 'creme-brulee', name: 'Crème brûlée', price: 8.2, station: 'dessert', uses: { cream: 0.15, eggs: 2 } },
  { id: 'apple-tart', name: 'Apple tart', price: 7.4, station: 'dessert', uses: { apples: 0.2, butter: 0.03 } },
  { id: 'espresso', name: 'Espresso', price: 2.8, station: 'bar', uses: { coffee: 0.009 } },
  { id: 'spritz', name: 'Lemon spritz', price: 8.9, station: 'bar', uses: { lemons: 0.5 } },
  { id: 'lager', name: 'Lager 0.5 l', price: 5.2, station: 'bar', uses: { lager: 0.5 } },
];

// Stock at the beginning, and the level below which somebody should order.
export const INGREDIENTS = {
  apples: { name: 'Apples', unit: 'kg', currentStock: 9, minStock: 3 },
  beef: { name: 'Beef', unit: 'kg', currentStock: 11, minStock: 4 },
  buns: { name: 'Burger buns', unit: 'pcs', currentStock: 38, minStock: 15 },
  butter: { name: 'Butter', unit: 'kg', currentStock: 4, minStock: 1 },
  cheese: { name: 'Parmesan', unit: 'kg', currentStock: 3.2, minStock: 1 },
  coffee: { name: 'Coffee', unit: 'kg', currentStock: 2.5, minStock: 0.5 },
  cream: { name: 'Cream', unit: 'l', currentStock: 6, minStock: 2 },
  eggs: { name: 'Eggs', unit: 'pcs', currentStock: 60, minStock: 20 },
  lager: { name: 'Lager', unit: 'l', currentStock: 40, minStock: 10 },
  lemons: { name: 'Lemons', unit: 'pcs', currentStock: 31, minStock: 12 },
  lettuce: { name: 'Romaine lettuce', unit: 'heads', currentStock: 14, minStock: 5 },
  mozzarella: { name: 'Mozzarella', unit: 'kg', currentStock: 2, minStock: 0.75 },
  mushrooms: { name: 'Mushrooms', unit: 'kg', currentStock: 3, minStock: 1 },
  potatoes: { name: 'Potatoes', unit: 'kg', currentStock: 18, minStock: 6 },
  rice: { name: 'Arborio rice', unit: 'kg', currentStock: 5, minStock: 1.5 },
  salmon: { name: 'Salmon', unit: 'kg', currentStock: 3.4, minStock: 1.5 },
  squid: { name: 'Squid', unit: 'kg', currentStock: 3, minStock: 1 },
  tomatoes: { name: 'Tomatoes', unit: 'kg', currentStock: 8, minStock: 3 },
  veal: { name: 'Veal', unit: 'kg', currentStock: 5, minStock: 2 },
};

// Seats of the tables 1, 2, …
export const TABLES = [2, 2, 4, 4, 6, 2, 2, 4, 4, 8, 4, 2];
